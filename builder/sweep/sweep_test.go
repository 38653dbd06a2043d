// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package sweep

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
)

// now is the fake time of the searches, after the zero time.
const now = 1000 * time.Hour

func ago(d time.Duration) *time.Time { return aws.Time(time.Time{}.Add(now - d)) }

// temporary are the tags of the things of a build that began so long ago.
func temporary(d time.Duration) []types.Tag {
	return tagsOf(map[string]string{tagTemporary: "b1", tagCreated: ago(d).Format(time.RFC3339)})
}

func published(more ...string) []types.Tag {
	m := map[string]string{tagPublishID: "p1"}
	if len(more) > 0 {
		m[tagTemporary] = more[0]
	}
	return tagsOf(m)
}

func image(id string, state types.ImageState, made *time.Time, tags []types.Tag, snapshots ...string) types.Image {
	i := types.Image{ImageId: aws.String(id), Name: aws.String(id), State: state, CreationDate: aws.String(made.Format(time.RFC3339)), Tags: tags}
	for _, s := range snapshots {
		i.BlockDeviceMappings = append(i.BlockDeviceMappings, types.BlockDeviceMapping{Ebs: &types.EbsBlockDevice{SnapshotId: aws.String(s)}})
	}
	return i
}

func snapshot(id string, state types.SnapshotState, made *time.Time) types.Snapshot {
	return types.Snapshot{SnapshotId: aws.String(id), State: state, StartTime: made, Tags: published()}
}

const days = 48 * time.Hour

// littered is an account in which builds died, some just now, and in which
// images are in use.
func littered() *account {
	iamTags := []iamtypes.Tag{{Key: aws.String(tagTemporary), Value: aws.String("b1")}, {Key: aws.String(tagCreated), Value: aws.String(ago(days).Format(time.RFC3339))}}
	return &account{
		fleetTags: []types.TagDescription{{ResourceId: aws.String("fleet-1")}, {ResourceId: aws.String("fleet-gone")}},
		fleets: []types.FleetData{
			{FleetId: aws.String("fleet-1"), FleetState: types.FleetStateCodeActive, CreateTime: ago(days), Tags: temporary(days)},
			{FleetId: aws.String("fleet-gone"), FleetState: types.FleetStateCodeDeleted, CreateTime: ago(days), Tags: temporary(days)},
		},
		instances: []types.Instance{
			{InstanceId: aws.String("i-old"), LaunchTime: ago(days), Tags: temporary(days)},
			{InstanceId: aws.String("i-young"), LaunchTime: ago(time.Hour), Tags: temporary(time.Hour)},
			{InstanceId: aws.String("i-started-again"), LaunchTime: ago(time.Hour), Tags: temporary(days)},
		},
		templates: []types.LaunchTemplate{{LaunchTemplateId: aws.String("lt-old"), CreateTime: ago(days), Tags: temporary(days)}},
		volumes: []types.Volume{
			{VolumeId: aws.String("vol-free"), CreateTime: ago(days), Tags: temporary(days)},
			{VolumeId: aws.String("vol-with"), CreateTime: ago(days), Tags: temporary(days), Attachments: []types.VolumeAttachment{{InstanceId: aws.String("i-old"), DeleteOnTermination: aws.Bool(true)}}},
			{VolumeId: aws.String("vol-after"), CreateTime: ago(days), Tags: temporary(days), Attachments: []types.VolumeAttachment{{InstanceId: aws.String("i-old")}}},
			{VolumeId: aws.String("vol-held"), CreateTime: ago(days), Tags: temporary(days), Attachments: []types.VolumeAttachment{{InstanceId: aws.String("i-young")}}},
		},
		groups: []types.SecurityGroup{
			{GroupId: aws.String("sg-old"), Tags: temporary(days)},
			{GroupId: aws.String("sg-young"), Tags: temporary(time.Hour)},
			{GroupId: aws.String("sg-ageless"), Tags: tagsOf(map[string]string{tagTemporary: "b1"})},
		},
		keys: []types.KeyPairInfo{{KeyName: aws.String("key-old"), CreateTime: ago(days), Tags: temporary(days)}},
		images: []types.Image{
			image("ami-good", types.ImageStateAvailable, ago(days), published(), "snap-good"),
			image("ami-theirs", types.ImageStatePending, ago(days), nil, "snap-by-another-image"),
			image("ami-disabled", types.ImageStateDisabled, ago(days), published(), "snap-disabled"),
			image("ami-staging", types.ImageStateAvailable, ago(days), published("p1"), "snap-staging", "snap-good"),
			image("ami-stuck", types.ImageStatePending, ago(days), published()),
			image("ami-failed", types.ImageStateFailed, ago(days), published()),
			image("ami-coming", types.ImageStatePending, ago(time.Hour), published(), "snap-coming"),
		},
		snapshots: []types.Snapshot{
			snapshot("snap-good", types.SnapshotStateCompleted, ago(days)),
			snapshot("snap-by-another-image", types.SnapshotStateCompleted, ago(days)),
			snapshot("snap-disabled", types.SnapshotStateCompleted, ago(days)),
			snapshot("snap-staging", types.SnapshotStateCompleted, ago(days)),
			snapshot("snap-coming", types.SnapshotStateCompleted, ago(days)),
			snapshot("snap-listed", types.SnapshotStateCompleted, ago(days)),
			snapshot("snap-orphan", types.SnapshotStateCompleted, ago(days)),
			snapshot("snap-pending", types.SnapshotStatePending, ago(days)),
			snapshot("snap-error", types.SnapshotStateError, ago(days)),
			snapshot("snap-uploading", types.SnapshotStatePending, ago(time.Hour)),
		},
		roles: []iamtypes.Role{
			{RoleName: aws.String("rightimage-b1"), CreateDate: ago(days), Tags: iamTags},
			{RoleName: aws.String("rightimage-of-somebody"), CreateDate: ago(days)},
			{RoleName: aws.String("admin"), CreateDate: ago(days), Tags: iamTags},
		},
		policies: map[string][]string{"rightimage-b1": {"build", "more"}},
		profiles: []iamtypes.InstanceProfile{{InstanceProfileName: aws.String("rightimage-b1"), CreateDate: ago(days), Tags: iamTags, Roles: []iamtypes.Role{{RoleName: aws.String("rightimage-b1")}}}},
	}
}

func ids(leftovers []*Leftover) []string {
	var out []string
	for _, l := range leftovers {
		out = append(out, l.Kind+" "+l.ID)
	}
	return out
}

func sweeperOfLittered() (*account, *Sweeper) {
	a := littered()
	s := sweeperOf(a)
	s.Keep = []string{"snap-listed"}
	return a, s
}

func TestFind(t *testing.T) {
	_, s := sweeperOfLittered()
	r := s.Find(t.Context(), []string{"eu-west-1"})
	require.Empty(t, r.Problems)
	require.Equal(t, []string{
		"fleet fleet-1", "instance i-old", "launch template lt-old", "volume vol-free", "volume vol-after",
		"security group sg-old", "security group sg-ageless", "key pair key-old",
		"image ami-staging", "image ami-stuck", "image ami-failed",
		"snapshot snap-staging", "snapshot snap-orphan", "snapshot snap-pending", "snapshot snap-error",
		"instance profile rightimage-b1", "role rightimage-b1",
	}, ids(r.Leftovers))
	require.Equal(t, 5, r.Younger, "i-young, i-started-again, sg-young, ami-coming is counted, snap-uploading")
	for _, l := range r.Leftovers {
		require.NotEmpty(t, l.Why, l.ID)
		require.NotEmpty(t, l.Remedy, l.ID)
		require.Equal(t, l.ID == "sg-ageless", l.Action == "", l.ID)
	}
}

func TestRemoveInOrder(t *testing.T) {
	a, s := sweeperOfLittered()
	r := s.Find(t.Context(), []string{"eu-west-1"})
	err := s.Remove(t.Context(), r)
	require.ErrorContains(t, err, "security group sg-ageless")
	require.Equal(t, []string{"security group sg-ageless"}, ids(r.Left()))
	require.ElementsMatch(t, []string{
		"DeleteFleets fleet-1", "TerminateInstances i-old", "DeleteLaunchTemplate lt-old", "DeleteVolume vol-free", "DeleteVolume vol-after",
		"DeleteSecurityGroup sg-old", "DeleteKeyPair key-old", "DeregisterImage ami-staging", "DeregisterImage ami-stuck", "DeregisterImage ami-failed",
		"DeleteSnapshot snap-staging", "DeleteSnapshot snap-orphan", "DeleteSnapshot snap-pending", "DeleteSnapshot snap-error",
		"RemoveRoleFromInstanceProfile rightimage-b1", "DeleteInstanceProfile rightimage-b1",
		"DeleteRolePolicy rightimage-b1 build", "DeleteRolePolicy rightimage-b1 more", "DeleteRole rightimage-b1",
	}, a.calls)
	before := func(first, second string) {
		require.Less(t, slices.Index(a.calls, first), slices.Index(a.calls, second), "%s before %s", first, second)
	}
	before("TerminateInstances i-old", "DeleteSecurityGroup sg-old")
	before("DeregisterImage ami-staging", "DeleteSnapshot snap-staging")
	before("DeleteInstanceProfile rightimage-b1", "DeleteRole rightimage-b1")
	before("TerminateInstances i-old", "DeleteInstanceProfile rightimage-b1")
	for _, action := range IAMActions() {
		if action != "ec2:DescribeRegions" {
			require.True(t, a.used[action[4:]], "the policy names %s, which is never called", action)
		}
	}
}

func TestRemoveGoesOnPastErrors(t *testing.T) {
	a, s := sweeperOfLittered()
	a.deny = map[string]string{
		"DeleteVolume vol-free":     "UnauthorizedOperation", // for good
		"DeleteKeyPair key-old":     "InternalError",         // all the time
		"DeleteSnapshot snap-error": "InvalidSnapshot.NotFound",
	}
	r := s.Find(t.Context(), []string{"eu-west-1"})
	err := s.Remove(t.Context(), r)
	require.ElementsMatch(t, []string{"volume vol-free", "security group sg-ageless", "key pair key-old"}, ids(r.Left()))
	for _, l := range r.Left() {
		require.NotEmpty(t, l.Error, l.ID)
		require.ErrorContains(t, err, l.ID)
		require.ErrorContains(t, err, l.Remedy)
	}
}

func TestRemoveStopsWhenTold(t *testing.T) {
	a, s := sweeperOfLittered()
	r := s.Find(t.Context(), []string{"eu-west-1"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, s.Remove(ctx, r))
	require.Empty(t, a.calls)
	require.Len(t, r.Left(), len(r.Leftovers))
}

func TestProblemsOfSearching(t *testing.T) {
	a, s := sweeperOfLittered()
	a.deny = map[string]string{"DescribeLaunchTemplates": "UnauthorizedOperation", "DescribeImages": "InternalError", "ListRoles": "AccessDenied"}
	r := s.Find(t.Context(), []string{"eu-west-1", "us-east-1"})
	problems := map[string][]string{}
	for _, p := range r.Problems {
		problems[p.What] = p.Regions
	}
	require.Equal(t, map[string][]string{
		"launch templates": {"eu-west-1", "us-east-1"}, "images": {"eu-west-1", "us-east-1"}, "snapshots": {"eu-west-1", "us-east-1"}, "roles": {"IAM"},
	}, problems)
	require.Contains(t, ids(r.Leftovers), "instance i-old", "the rest is searched all the same")
	require.NotContains(t, ids(r.Leftovers), "snapshot snap-orphan", "without the images nobody knows what is used")

	s.SkipIAM = true
	r = s.Find(t.Context(), []string{"eu-west-1"})
	require.NotContains(t, ids(r.Leftovers), "instance profile rightimage-b1")
	require.Len(t, r.Problems, 3)
}

// An endpoint that nobody serves is told once and at once, not kind by kind.
func TestNobodyAnswers(t *testing.T) {
	f, err := awsx.New(t.Context(), awsx.Config{Region: "eu-west-1", AccessKey: "a", SecretKey: "b", EndpointURL: "http://127.0.0.1:1", MaxRetries: 1})
	require.NoError(t, err)
	r := New(f).Find(t.Context(), []string{"eu-west-1", "us-east-1"})
	var where []string
	for _, p := range r.Problems {
		require.Equal(t, "anything", p.What)
		where = append(where, p.Regions...)
	}
	require.ElementsMatch(t, []string{"eu-west-1", "us-east-1", "IAM"}, where)
}

func TestBorn(t *testing.T) {
	told := map[string]string{tagCreated: "2030-01-02T03:04:05Z"}
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	require.Equal(t, at, born(told, nil))
	require.Equal(t, at, born(told, aws.Time(at.Add(-time.Hour))))
	require.Equal(t, at.Add(time.Hour), born(told, aws.Time(at.Add(time.Hour))), "the later one counts")
	require.Equal(t, at, born(map[string]string{tagCreated: "yesterday"}, aws.Time(at)))
	require.True(t, born(nil, nil).IsZero())
}
