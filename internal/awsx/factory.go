// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package awsx

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2instanceconnect"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/rightimage/packer-plugin-rightimage/version"
)

// Defaults and bounds of the clients.
const (
	defaultRetries = 10
	defaultPool    = 64
	quickAttempts  = 3
	dialTimeout    = 10 * time.Second
	replyTimeout   = time.Minute // a reply that has not begun by then never comes
	loadTimeout    = time.Minute // for finding credentials, roles included
)

// Factory makes the clients of all services and regions from one Config.
type Factory struct {
	cfg      aws.Config
	endpoint *string
	profile  string
	retries  int
}

// New loads the configuration and the credentials, and assumes the role if one
// is named. It fails with a text that names the options and variables to set.
func New(ctx context.Context, c Config) (*Factory, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	cfg, err := config.LoadDefaultConfig(ctx, c.options()...)
	if err != nil {
		return nil, fmt.Errorf("load AWS settings (profile %q): %w", c.Profile, err)
	}
	f := &Factory{cfg: cfg, profile: c.Profile, retries: c.MaxRetries}
	if c.EndpointURL != "" {
		f.endpoint = aws.String(c.EndpointURL)
	}
	if f.cfg.Region == "" {
		f.cfg.Region = "us-east-1" // only for STS; EC2 and EBS are asked for by region
	}
	if c.AssumeRole.RoleARN != "" {
		f.cfg.Credentials = f.role(c.AssumeRole)
	}
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	if _, err := f.cfg.Credentials.Retrieve(ctx); err != nil {
		return nil, credentialsError(c, err)
	}
	return f, nil
}

// EC2 returns the control plane client of a region. The SDK repeats its calls
// after throttling and network errors, up to MaxRetries times.
func (f *Factory) EC2(region string) *ec2.Client {
	return ec2.NewFromConfig(f.cfg, func(o *ec2.Options) {
		o.Region, o.Retryer, o.RetryMaxAttempts = f.region(region), f.retryer(), 0
		if f.endpoint != nil {
			o.BaseEndpoint = f.endpoint
		}
	})
}

// EBS returns the data plane client of a region. It repeats nothing: whoever
// moves blocks knows better when to try again, and nested retries multiply.
func (f *Factory) EBS(region string) *ebs.Client {
	return ebs.NewFromConfig(f.cfg, func(o *ebs.Options) {
		o.Region, o.Retryer, o.RetryMaxAttempts = f.region(region), aws.NopRetryer{}, 0
		o.HTTPClient = blockClient(f.cfg.HTTPClient)
		if f.endpoint != nil {
			o.BaseEndpoint = f.endpoint
		}
	})
}

// STS returns the client that tells who the caller is.
func (f *Factory) STS(region string) *sts.Client {
	return sts.NewFromConfig(f.cfg, func(o *sts.Options) {
		o.Region, o.Retryer, o.RetryMaxAttempts = f.region(region), f.retryer(), 0
		if f.endpoint != nil {
			o.BaseEndpoint = f.endpoint
		}
	})
}

// IAM returns the client of the roles and instance profiles of the account.
// They are the same in all regions; the region only decides the partition.
func (f *Factory) IAM(region string) *iam.Client {
	return iam.NewFromConfig(f.cfg, func(o *iam.Options) {
		o.Region, o.Retryer, o.RetryMaxAttempts = f.region(region), f.retryer(), 0
		if f.endpoint != nil {
			o.BaseEndpoint = f.endpoint
		}
	})
}

// SSM returns the client of Parameter Store and Session Manager.
func (f *Factory) SSM(region string) *ssm.Client {
	return ssm.NewFromConfig(f.cfg, func(o *ssm.Options) {
		o.Region, o.Retryer, o.RetryMaxAttempts = f.region(region), f.retryer(), 0
		if f.endpoint != nil {
			o.BaseEndpoint = f.endpoint
		}
	})
}

// S3 returns the client of the object store. An endpoint of one's own gets the
// bucket in the path, since it seldom has a name per bucket.
func (f *Factory) S3(region string) *s3.Client {
	return s3.NewFromConfig(f.cfg, func(o *s3.Options) {
		o.Region, o.Retryer, o.RetryMaxAttempts = f.region(region), f.retryer(), 0
		if f.endpoint != nil {
			o.BaseEndpoint = f.endpoint
			o.UsePathStyle = true
		}
	})
}

// InstanceConnect returns the client that pushes a short-lived key to an instance.
func (f *Factory) InstanceConnect(region string) *ec2instanceconnect.Client {
	return ec2instanceconnect.NewFromConfig(f.cfg, func(o *ec2instanceconnect.Options) {
		o.Region, o.Retryer, o.RetryMaxAttempts = f.region(region), f.retryer(), 0
		if f.endpoint != nil {
			o.BaseEndpoint = f.endpoint
		}
	})
}

// Once is an option for a call that must not be repeated by the SDK, because
// its caller repeats it.
func Once(o *ec2.Options) { o.Retryer = aws.NopRetryer{} }

// Quick is an option for the first call of a task: a wrong endpoint should be
// known in seconds. Throttling is waited out as ever.
func Quick(o *ec2.Options) { o.Retryer = quickRetryer{o.Retryer} }

// quickRetryer gives up early when nobody answers.
type quickRetryer struct{ aws.Retryer }

func (q quickRetryer) RetryDelay(attempt int, err error) (time.Duration, error) {
	if attempt >= quickAttempts && Class(err) == Network {
		return 0, err
	}
	return q.Retryer.RetryDelay(attempt, err)
}

// Endpoint returns the URL that EC2 calls of a region go to when it is not
// AWS's own; else "".
func (f *Factory) Endpoint(region string) string {
	return aws.ToString(f.EC2(region).Options().BaseEndpoint)
}

// Profile returns the profile that the settings came from; "" if none was
// named.
func (f *Factory) Profile() string { return f.profile }

func (f *Factory) region(region string) string {
	if region == "" {
		return f.cfg.Region
	}
	return region
}

func (f *Factory) role(r AssumeRole) aws.CredentialsProvider {
	provider := stscreds.NewAssumeRoleProvider(f.STS(""), r.RoleARN, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName = "rightimage"
		if r.SessionName != "" {
			o.RoleSessionName = r.SessionName
		}
		if r.ExternalID != "" {
			o.ExternalID = aws.String(r.ExternalID)
		}
	})
	return aws.NewCredentialsCache(provider)
}

func (f *Factory) retryer() aws.Retryer {
	if f.retries > 0 {
		return newRetryer(f.retries)
	}
	return newRetryer(defaultRetries)
}

func newRetryer(retries int) aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts = retries + 1 })
}

// options turns the settings into those of the SDK's loader.
func (c Config) options() []func(*config.LoadOptions) error {
	agent := middleware.AddUserAgentKeyValue("rightimage", version.String())
	options := []func(*config.LoadOptions) error{
		config.WithHTTPClient(c.httpClient()),
		config.WithAPIOptions([]func(*smithyStack) error{agent}),
	}
	if c.Region != "" {
		options = append(options, config.WithRegion(c.Region))
	}
	if c.Profile != "" {
		options = append(options, config.WithSharedConfigProfile(c.Profile))
	}
	if c.AccessKey != "" {
		static := credentials.NewStaticCredentialsProvider(c.AccessKey, c.SecretKey.Reveal(), c.Token.Reveal())
		options = append(options, config.WithCredentialsProvider(static))
	}
	return options
}

// httpClient keeps as many connections open as there are workers; the proxy is
// that of the environment (HTTPS_PROXY, HTTP_PROXY, NO_PROXY).
func (c Config) httpClient() *awshttp.BuildableClient {
	pool := c.PoolSize
	if pool <= 0 {
		pool = defaultPool
	}
	return awshttp.NewBuildableClient().
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = dialTimeout }).
		WithTransportOptions(func(t *http.Transport) {
			t.Proxy = http.ProxyFromEnvironment
			t.MaxIdleConns = 4 * pool
			t.MaxIdleConnsPerHost = pool
			t.ResponseHeaderTimeout = replyTimeout
		})
}

// check finds settings that cannot work together.
func (c Config) check() error {
	var errs []error
	if (c.AccessKey == "") != (c.SecretKey == "") {
		errs = append(errs, errors.New("access_key and secret_key: give both or neither"))
	}
	if c.Token != "" && c.AccessKey == "" {
		errs = append(errs, errors.New("token: goes with access_key and secret_key"))
	}
	if c.EndpointURL != "" {
		errs = append(errs, CheckEndpoint(c.EndpointURL))
	}
	return errors.Join(errs...)
}

// CheckEndpoint checks the form of an endpoint URL.
func CheckEndpoint(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return fmt.Errorf("endpoint_url: %q is no URL such as http://127.0.0.1:4566 or https://example.com", raw)
	}
	return nil
}
