// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"net/http"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/platform/access"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// rule says who may call a route.
type rule struct {
	open     bool        // everybody
	role     access.Role // people with this role; "" for no person
	instance bool        // agents, about what is theirs
}

// The rules. What an agent may see or change of the account is said in package
// fleet.
var (
	anybody = rule{open: true}
	agents  = rule{instance: true}
	sees    = rule{role: access.Observer}
	seesAll = rule{role: access.Observer, instance: true}
	acts    = rule{role: access.Actor}
	actsAll = rule{role: access.Actor, instance: true}
	designs = rule{role: access.Designer}
	publish = rule{role: access.Publisher}
)

// entry is a route of API 1.5 with who may call it.
type entry struct {
	method, path string
	rule
	do http.HandlerFunc
}

// entries is the authorisation table: a route that is not here does not exist.
func (s *Server) entries() []entry {
	var all []entry
	for _, part := range [][]entry{s.loginEntries(), s.agentEntries(), s.cloudEntries(), s.serverEntries(), s.templateEntries(), s.scriptEntries(), s.imageEntries(), s.accountEntries()} {
		all = append(all, part...)
	}
	return all
}

func (s *Server) on(method, path string, r rule, e endpoint) entry {
	return entry{method, "/api" + path, r, s.answer(e)}
}

func (s *Server) loginEntries() []entry {
	list := []entry{
		{"GET", "/api" + wire.PathHealthCheck, anybody, s.healthCheck},
		{"GET", "/router" + wire.PathHealthCheck, anybody, s.healthCheck},
		{"POST", "/api" + wire.PathOAuth2, anybody, s.oauth2},
		{"POST", "/api" + wire.PathChallenge, anybody, s.challenge},
		// Guarded by a download token of its own.
		{"GET", "/api" + wire.PathAttachments + "{digest}", anybody, s.attachment},
	}
	for _, path := range []string{"/sessions", "/session"} { // clients know both
		list = append(list,
			s.on("POST", path, anybody, (*call).login),
			s.on("POST", path+"/instance", anybody, (*call).loginInstance),
			s.on("GET", path+"/accounts", anybody, (*call).sessionAccounts),
			s.on("GET", path, seesAll, (*call).session),
			s.on("DELETE", path, seesAll, (*call).logout),
			entry{"GET", "/api" + path + "/instance", agents, s.sessionsInstance},
		)
	}
	return list
}

func (s *Server) agentEntries() []entry {
	list := []entry{
		{"POST", "/api" + wire.PathDeclare, agents, s.declare},
		{"GET", "/api" + wire.PathBootBundle, agents, s.bootBundle},
		{"GET", "/api" + wire.PathMissingAttributes, agents, s.missingAttributes},
		{"GET", "/api" + wire.PathDecommissionBundle, agents, s.decommissionBundle},
		{"PUT", "/api" + wire.PathRecordState, agents, s.recordState},
		{"GET", "/api" + wire.PathRepositories, agents, s.repositories},
		{"GET", "/api" + wire.PathLoginPolicy, agents, s.loginPolicy},
		{"POST", "/api" + wire.PathShutdown, agents, s.shutdown},
		s.on("GET", "/user_data", agents, (*call).userData),
		{"GET", "/router" + wire.PathConnect, agents, s.connect},
		{"GET", "/router" + wire.PathListen, agents, s.listen},
		{"POST", "/router" + wire.PathRequest, agents, s.routerRequest},
		{"POST", "/router" + wire.PathPush, agents, s.routerNotify},
		{"POST", "/router" + wire.PathNotify, agents, s.routerNotify},
	}
	for _, path := range []string{wire.PathScheduleScript, wire.PathBundleScript} {
		list = append(list, entry{"POST", "/api" + path, agents, s.scheduleScript},
			entry{"POST", "/api" + strings.Replace(path, "right_script", "recipe", 1), agents, s.scheduleRecipe})
	}
	return list
}

func (s *Server) cloudEntries() []entry {
	const instance = "/clouds/{cloud}/instances/{instance}"
	list := []entry{
		s.on("GET", "/clouds", seesAll, (*call).clouds),
		s.on("GET", "/clouds/{cloud}", seesAll, (*call).cloud),
		s.on("GET", "/clouds/{cloud}/images", seesAll, (*call).images),
		s.on("GET", "/clouds/{cloud}/images/{uid}", seesAll, (*call).image),
		s.on("GET", "/clouds/{cloud}/instances", seesAll, (*call).instances),
		s.on("POST", "/clouds/{cloud}/instances", acts, (*call).createInstance),
		s.on("POST", "/clouds/{cloud}/instances/multi_run_executable", acts, (*call).multiRun),
		s.on("POST", "/clouds/{cloud}/instances/multi_terminate", acts, (*call).multiTerminate),
		s.on("GET", instance, seesAll, (*call).instance),
		s.on("PUT", instance, acts, (*call).updateInstance),
		s.on("POST", instance+"/launch", acts, (*call).launchInstance),
		s.on("POST", instance+"/run_executable", acts, (*call).runExecutable),
		s.on("GET", instance+"/live/tasks/{task}", seesAll, (*call).task),
		s.on("GET", instance+"/inputs", sees, (*call).instanceInputs),
		s.on("PUT", instance+"/inputs/multi_update", acts, (*call).setInstanceInputs),
	}
	for _, kind := range []string{"terminate", "reboot", "stop", "start", "lock", "unlock"} {
		list = append(list, s.on("POST", instance+"/"+kind, acts, instanceAction(kind)))
	}
	for _, k := range resourceKinds {
		list = append(list, s.on("GET", "/clouds/{cloud}/"+k.path, sees, k.index), s.on("GET", "/clouds/{cloud}/"+k.path+"/{uid}", sees, k.show))
	}
	return list
}

func (s *Server) serverEntries() []entry {
	var list []entry
	for _, base := range []string{"", "/deployments/{deployment}"} {
		list = append(list,
			s.on("GET", base+"/servers", sees, (*call).servers),
			s.on("POST", base+"/servers", acts, (*call).createServer),
			s.on("GET", base+"/servers/{id}", sees, (*call).server),
			s.on("PUT", base+"/servers/{id}", acts, (*call).updateServer),
			s.on("DELETE", base+"/servers/{id}", acts, (*call).deleteServer),
			s.on("GET", base+"/server_arrays", sees, (*call).arrays),
			s.on("POST", base+"/server_arrays", acts, (*call).createArray),
			s.on("GET", base+"/server_arrays/{id}", sees, (*call).array),
			s.on("PUT", base+"/server_arrays/{id}", acts, (*call).updateArray),
			s.on("DELETE", base+"/server_arrays/{id}", acts, (*call).deleteArray),
		)
	}
	return append(list,
		s.on("POST", "/servers/wrap_instance", acts, (*call).wrapInstance),
		s.on("POST", "/servers/{id}/launch", acts, (*call).launchServer),
		s.on("POST", "/servers/{id}/terminate", acts, serverAction("terminate")),
		s.on("POST", "/servers/{id}/reboot", acts, serverAction("reboot")),
		s.on("POST", "/servers/{id}/clone", acts, (*call).cloneServer),
		s.on("POST", "/servers/{id}/unwrap", acts, (*call).unwrapServer),
		s.on("POST", "/servers/{id}/enable_runnable_bindings", acts, enableBindings(true)),
		s.on("POST", "/servers/{id}/disable_runnable_bindings", acts, enableBindings(false)),
		s.on("GET", "/servers/{id}/alert_specs", sees, (*call).nothing),
		s.on("GET", "/servers/{id}/alerts", sees, (*call).nothing),
		s.on("POST", "/server_arrays/{id}/launch", acts, (*call).launchArray),
		s.on("GET", "/server_arrays/{id}/current_instances", sees, (*call).arrayInstances),
		s.on("POST", "/server_arrays/{id}/multi_run_executable", acts, (*call).multiRunArray),
		s.on("POST", "/server_arrays/{id}/multi_terminate", acts, (*call).terminateArray),
		s.on("GET", "/deployments", sees, (*call).deployments),
		s.on("POST", "/deployments", acts, (*call).createDeployment),
		s.on("GET", "/deployments/{deployment}", sees, (*call).deployment),
		s.on("PUT", "/deployments/{deployment}", acts, (*call).updateDeployment),
		s.on("DELETE", "/deployments/{deployment}", acts, (*call).deleteDeployment),
		s.on("POST", "/deployments/{deployment}/clone", acts, (*call).cloneDeployment),
		s.on("POST", "/deployments/{deployment}/lock", acts, lockDeployment(true)),
		s.on("POST", "/deployments/{deployment}/unlock", acts, lockDeployment(false)),
		s.on("GET", "/deployments/{deployment}/inputs", sees, (*call).deploymentInputs),
		s.on("PUT", "/deployments/{deployment}/inputs/multi_update", acts, (*call).setDeploymentInputs),
		s.on("GET", "/deployments/{deployment}/alerts", sees, (*call).nothing),
	)
}

func (s *Server) templateEntries() []entry {
	const tmpl = "/server_templates/{st}"
	return []entry{
		s.on("GET", "/server_templates", sees, (*call).templates),
		s.on("POST", "/server_templates", designs, (*call).createTemplate),
		s.on("GET", tmpl, sees, (*call).template),
		s.on("PUT", tmpl, designs, (*call).updateTemplate),
		s.on("DELETE", tmpl, designs, (*call).deleteTemplate),
		s.on("POST", tmpl+"/commit", designs, (*call).commitTemplate),
		s.on("POST", tmpl+"/clone", designs, (*call).cloneTemplate),
		s.on("POST", tmpl+"/publish", publish, (*call).unpublished),
		s.on("POST", tmpl+"/resolve", sees, (*call).nothing),
		s.on("POST", tmpl+"/detect_changes_in_head", sees, (*call).changesInHead),
		s.on("GET", tmpl+"/inputs", sees, (*call).templateInputs),
		s.on("PUT", tmpl+"/inputs/multi_update", designs, (*call).setTemplateInputs),
		s.on("GET", tmpl+"/runnable_bindings", sees, (*call).bindings),
		s.on("POST", tmpl+"/runnable_bindings", designs, (*call).createBinding),
		s.on("PUT", tmpl+"/runnable_bindings/multi_update", designs, (*call).moveBindings),
		s.on("GET", tmpl+"/runnable_bindings/{id}", sees, (*call).binding),
		s.on("DELETE", tmpl+"/runnable_bindings/{id}", designs, (*call).deleteBinding),
		s.on("GET", tmpl+"/alert_specs", sees, (*call).alerts),
		s.on("POST", tmpl+"/alert_specs", designs, (*call).createAlert),
		s.on("GET", tmpl+"/alert_specs/{id}", sees, (*call).alert),
		s.on("PUT", tmpl+"/alert_specs/{id}", designs, (*call).updateAlert),
		s.on("DELETE", tmpl+"/alert_specs/{id}", designs, (*call).deleteAlert),
		s.on("GET", tmpl+"/cookbook_attachments", sees, (*call).nothing),
		s.on("GET", tmpl+"/multi_cloud_images", sees, (*call).templateMCIs),
		s.on("GET", tmpl+"/multi_cloud_images/{id}", sees, (*call).mci),
		s.on("GET", "/publications", sees, (*call).nothing),
	}
}

func (s *Server) scriptEntries() []entry {
	const script = "/right_scripts/{id}"
	return []entry{
		s.on("GET", "/right_scripts", sees, (*call).scripts),
		s.on("POST", "/right_scripts", designs, (*call).createScript),
		s.on("GET", script, sees, (*call).script),
		s.on("PUT", script, designs, (*call).updateScript),
		s.on("DELETE", script, designs, (*call).deleteScript),
		s.on("POST", script+"/commit", designs, (*call).commitScript),
		s.on("GET", script+"/source", sees, (*call).scriptSource),
		{"PUT", "/api" + script + "/source", designs, s.setScriptSource},
		s.on("GET", script+"/attachments", sees, (*call).attachments),
		{"POST", "/api" + script + "/attachments", designs, s.putAttachment},
		s.on("GET", script+"/attachments/{attachment}", sees, (*call).attachment),
		{"PUT", "/api" + script + "/attachments/{attachment}", designs, s.putAttachment},
		s.on("DELETE", script+"/attachments/{attachment}", designs, (*call).deleteAttachment),
	}
}

func (s *Server) imageEntries() []entry {
	const mci, both = "/multi_cloud_images/{id}", "/server_template_multi_cloud_images"
	return []entry{
		s.on("GET", "/multi_cloud_images", sees, (*call).mcis),
		s.on("POST", "/multi_cloud_images", designs, (*call).createMCI),
		s.on("GET", mci, sees, (*call).mci),
		s.on("PUT", mci, designs, (*call).updateMCI),
		s.on("DELETE", mci, designs, (*call).deleteMCI),
		s.on("POST", mci+"/clone", designs, (*call).cloneMCI),
		s.on("POST", mci+"/commit", designs, (*call).commitMCI),
		s.on("GET", mci+"/matchers", sees, (*call).nothing),
		s.on("GET", mci+"/settings", sees, (*call).settings),
		s.on("POST", mci+"/settings", designs, (*call).createSetting),
		s.on("GET", mci+"/settings/{setting}", sees, (*call).setting),
		s.on("PUT", mci+"/settings/{setting}", designs, (*call).updateSetting),
		s.on("DELETE", mci+"/settings/{setting}", designs, (*call).deleteSetting),
		s.on("GET", both, sees, (*call).templateImages),
		s.on("POST", both, designs, (*call).createTemplateImage),
		s.on("GET", both+"/{id}", sees, (*call).templateImage),
		s.on("DELETE", both+"/{id}", designs, (*call).deleteTemplateImage),
		s.on("POST", both+"/{id}/make_default", designs, (*call).makeDefault),
	}
}

func (s *Server) accountEntries() []entry {
	return []entry{
		s.on("GET", "/accounts/{id}", sees, (*call).account),
		s.on("GET", "/credentials", sees, (*call).credentials),
		s.on("POST", "/credentials", acts, (*call).createCredential),
		s.on("GET", "/credentials/{id}", sees, (*call).credential),
		s.on("PUT", "/credentials/{id}", acts, (*call).updateCredential),
		s.on("DELETE", "/credentials/{id}", acts, (*call).deleteCredential),
		s.on("GET", wire.PathAuditEntries, seesAll, (*call).auditEntries),
		{"POST", "/api" + wire.PathAuditEntries, actsAll, s.createAudit},
		{"GET", "/api" + wire.PathAuditEntries + "/{id}", seesAll, s.showAudit},
		s.on("PUT", wire.PathAuditEntries+"/{id}", actsAll, (*call).updateAudit),
		{"GET", "/api" + wire.PathAuditEntries + "/{id}/detail", seesAll, s.auditDetail},
		{"POST", "/api" + wire.PathAuditEntries + "/{id}/append", actsAll, s.appendAudit},
		{"POST", "/api" + wire.PathTagsAdd, actsAll, s.changeTags(false)},
		{"POST", "/api" + wire.PathTagsDelete, actsAll, s.changeTags(true)},
		{"POST", "/api" + wire.PathTagsByResource, seesAll, s.tagsByResource},
		{"POST", "/api" + wire.PathTagsByTag, seesAll, s.tagsByTag},
	}
}
