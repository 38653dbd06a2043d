// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"path"
	"strings"
)

// agentChecks are about agents, which keep identities.
func agentChecks() []*Check {
	return []*Check{
		{
			ID: "agent-rightlink", Class: Disk, Severity: Blocker, Public: true, Cleans: true,
			Pass:   "RightLink has no identity, no secret and no state; its programs and our hint files may stay",
			Remedy: "bootstrap uninstall, or delete the state",
			rules: []rule{
				on(filled, "/var/lib/rightscale/**", "/var/lib/rightscale-identity", "/var/lib/rightlink/**", "/var/spool/cloud/**", "/var/spool/ec2/**", "/var/spool/rightlink/**", "/var/spool/rightscale/**",
					"/var/cache/rightscale/**", "/var/run/rightlink/**", "/run/rightlink/**", "/etc/rightscale.d/right_link/**", "/opt/rightscale/right_link/certs/**", "/home/rightscale/.ssh/*",
					"/var/log/rightlink.log", "/etc/cron.d/rightlink-upgrade"),
				on(oldHints, "/etc/rightscale.d/*.js"),
				on(cached, "/root/.rightscale/*"),
			},
		},
		{
			ID: "agent-ssm", Class: Disk, Severity: Blocker, Public: true, Cleans: true,
			Pass:   "the SSM agent is not registered and has no state",
			Remedy: "delete /var/lib/amazon/ssm and its logs; the agent registers anew",
			rules: []rule{on(filled, "/var/lib/amazon/ssm/registration", "/var/lib/amazon/ssm/Vault/**", "/var/lib/amazon/ssm/credentials", "/var/lib/amazon/ssm/i-*/**", "/var/lib/amazon/ssm/mi-*/**",
				"/var/lib/amazon/ssm/session/**", "/var/lib/amazon/ssm/inventory/**", "/var/lib/amazon/ssm/download/**", "/var/lib/amazon/ssm/localcommands/**", "/var/log/amazon/ssm/*", "/etc/amazon/ssm/amazon-ssm-agent.json")},
		},
		{
			ID: "agent-aws-other", Class: Disk, Severity: Warning, Public: true, Cleans: true,
			Pass:   "other agents of AWS have no configuration and no state of the builder",
			Remedy: "delete the state; configure agents at launch",
			rules: []rule{
				on(unownedFilled, "/opt/aws/amazon-cloudwatch-agent/etc/*.json", "/opt/aws/amazon-cloudwatch-agent/etc/amazon-cloudwatch-agent.d/*", "/opt/aws/amazon-cloudwatch-agent/logs/*", "/etc/awslogs/*.conf", "/var/awslogs/**",
					"/etc/codedeploy-agent/conf/codedeploy.onpremises.yml", "/opt/codedeploy-agent/deployment-root/**", "/var/lib/ecs/data/*", "/etc/greengrass/**", "/greengrass/v2/*.key", "/greengrass/v2/**/*.key"),
				on(assigning("ecs_cluster"), "/etc/ecs/ecs.config"),
				on(assigning("shared_credential_profile", "shared_credential_file"), "/opt/aws/amazon-cloudwatch-agent/etc/common-config.toml"),
			},
		},
		{
			ID: "agent-third-party", Class: Disk, Severity: Blocker, Public: true, Cleans: true,
			Pass:   "agents of configuration management and monitoring have no keys, tokens or ids",
			Remedy: "delete keys and ids; configure agents at launch",
			rules: []rule{
				on(filled, "/etc/chef/client.pem", "/etc/chef/validation.pem", "/etc/chef/*-validator.pem", "/etc/chef/encrypted_data_bag_secret", "/etc/puppetlabs/puppet/ssl/private_keys/*", "/var/lib/puppet/ssl/private_keys/*", "/etc/puppet/ssl/private_keys/*",
					"/etc/salt/pki/**", "/etc/salt/minion_id", "~/.vault_pass*", "/etc/ansible/vault*", "/var/ossec/etc/client.keys", "/etc/teleport.yaml", "/var/lib/teleport/**", "/etc/qualys/**", "/etc/tenable_tag", "/etc/osquery/enroll_secret*"),
				on(assigning("api_key", "license_key"), "/etc/datadog-agent/datadog.yaml", "/etc/newrelic-infra.yml"),
				on(assigning("pass4symmkey"), "/opt/splunkforwarder/etc/system/local/*.conf"),
				on(assigning("tlspskidentity", "hostname"), "/etc/zabbix/zabbix_agentd.conf", "/etc/zabbix/zabbix_agent2.conf"),
				on(containing(`(?i)^\s*"?(encrypt|token|agent|default|master|secret_id)"?\s*[=:]\s*"[A-Za-z0-9+/=-]{16,}"`), "/etc/consul.d/*", "/etc/nomad.d/*"),
				on(containing(`(?i)CID=|aid=`), "/opt/CrowdStrike/falconstore"),
			},
		},
	}
}

// oldHints judges scripts where RightLink 5 and 6 had them. Our own hint file
// has that name too, and holds no secret.
func oldHints(x *file) {
	if path.Base(x.Path) != "rightimage-release.js" {
		filled(x)
	}
}

// cached judges the cache of packages: those that the provisioner put in have
// their sums beside them.
func cached(x *file) {
	name := path.Base(x.Path)
	if !strings.HasPrefix(name, "rightlink_") {
		filled(x)
	}
}
