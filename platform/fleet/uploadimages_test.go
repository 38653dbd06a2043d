// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/servertemplate"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

var tester = By{Account: DefaultAccount, Who: "test"}

// uploadImages uploads a ServerTemplate with MultiCloudImages.
func uploadImages(t *testing.T, s *Service, images string) (*servertemplate.Template, int64, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "images.yml")
	require.NoError(t, os.WriteFile(file, []byte("Name: Images\nMultiCloudImages:\n"+images), 0o600))
	tmpl, err := servertemplate.Load(file)
	require.NoError(t, err)
	id, err := s.UploadTemplate(ctx, tester, tmpl)
	return tmpl, id, err
}

// imagesOf names the images of a ServerTemplate, the default first, with their
// tags and what they mean in which cloud.
func imagesOf(t *testing.T, s *Service, template int64) (list []string) {
	t.Helper()
	images, err := s.DB.MultiCloudImagesOf(ctx, template)
	require.NoError(t, err)
	for _, m := range images {
		text := m.Name
		tags, err := s.DB.Tags(ctx, DefaultAccount, MultiCloudImageHref(m.ID))
		require.NoError(t, err)
		for _, tag := range tags {
			text += " " + tag.Name
		}
		settings, err := s.DB.MCISettings(ctx, m.ID)
		require.NoError(t, err)
		for _, set := range settings {
			text += " " + strings.Join([]string{set.ImageUID, set.InstanceType, set.UserData}, "|")
		}
		list = append(list, text)
	}
	return list
}

func TestUploadMakesMultiCloudImages(t *testing.T) {
	s, _ := service(t)
	cloud, err := s.DB.CreateCloud(ctx, store.Cloud{AccountID: DefaultAccount, Name: "ireland", Type: "amazon", Region: "eu-west-1"}, s.Now())
	require.NoError(t, err)
	require.NoError(t, s.DB.PutImage(ctx, store.Image{CloudID: cloud, UID: NewUID(), ResourceUID: "ami-0abc", Name: "debian-12"}, s.Now()))
	const first = `  - Name: One
    Description: the first
    Tags: ["rs_agent:type=right_link_lite", "app:role=web"]
    Settings:
      - Cloud: ireland
        Instance Type: t3.small
        Image: debian-12
        User Data: mine
      - Cloud: nowhere
        Image: ami-1
  - Name: Two
    Settings: []
`
	tmpl, id, err := uploadImages(t, s, first)
	require.NoError(t, err)
	require.Equal(t, []string{"One app:role=web rs_agent:type=right_link_lite ami-0abc|t3.small|mine", "Two"}, imagesOf(t, s, id))
	require.Len(t, tmpl.Warnings, 1)
	require.Contains(t, tmpl.Warnings[0].String(), `images.yml:11: MultiCloudImages: Settings: there is no cloud "nowhere"`)

	// The same file again changes nothing.
	entries := func() int {
		list, err := s.AuditEntries(ctx, DefaultAccount, "", 0, 0)
		require.NoError(t, err)
		return len(list)
	}
	before := entries()
	_, again, err := uploadImages(t, s, first)
	require.NoError(t, err)
	require.Equal(t, id, again)
	require.Equal(t, before+1, entries(), "that it was uploaded, and no more")

	// The file says which tags and images there are; what people added in other
	// clouds stays.
	one, err := s.DB.MultiCloudImageByName(ctx, DefaultAccount, "One")
	require.NoError(t, err)
	_, err = s.PutSetting(ctx, tester, store.MCISetting{MCIID: one.ID, CloudID: store.DefaultCloud, ImageUID: "ami-9"})
	require.NoError(t, err)
	_, id, err = uploadImages(t, s, `  - Name: Two
    Tags: ["a:b=c"]
  - Name: One
    Settings:
      - Cloud: ireland
        Image: ami-0def
`)
	require.NoError(t, err)
	require.Equal(t, []string{"Two a:b=c", "One ami-9|| ami-0def||"}, imagesOf(t, s, id))
	// Images of the account are named, or given by their href.
	_, id, err = uploadImages(t, s, "  - Name: One\n    Revision: head\n")
	require.NoError(t, err)
	require.Equal(t, []string{"One ami-9|| ami-0def||"}, imagesOf(t, s, id))
	two, err := s.DB.MultiCloudImageByName(ctx, DefaultAccount, "Two")
	require.NoError(t, err)
	_, id, err = uploadImages(t, s, "  - Href: "+MultiCloudImageHref(two.ID)+"\n")
	require.NoError(t, err)
	require.Equal(t, []string{"Two a:b=c"}, imagesOf(t, s, id))
	// Without any, those that it has stay.
	_, id, err = uploadImages(t, s, "")
	require.NoError(t, err)
	require.Equal(t, []string{"Two a:b=c"}, imagesOf(t, s, id))

	for images, want := range map[string]string{
		"  - Name: None\n":                       `images.yml:3: MultiCloudImages: "None", revision 0: not found in the account`,
		"  - Name: One\n    Revision: 7\n":       `images.yml:3: MultiCloudImages: "One", revision 7`,
		"  - Href: /api/multi_cloud_images/99\n": "images.yml:3: ",
		"  - Href: somewhere\n":                  "want /api/multi_cloud_images/ID",
		"  - Name: One\n    Tags: [\"a=b=\"]\n":  "want namespace:predicate=value",
		"  - Name: One\n    Settings: [{Cloud: ireland, Image: a}, {Cloud: ireland, Image: b}]\n": `two settings for cloud "ireland"`,
		"  - Name: One\n  - Href: " + MultiCloudImageHref(one.ID) + "\n":                          "given twice",
	} {
		_, _, err := uploadImages(t, s, images)
		require.ErrorContains(t, err, want)
	}
	require.Equal(t, []string{"Two a:b=c"}, imagesOf(t, s, id), "a refused upload changes nothing")
}
