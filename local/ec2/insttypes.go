// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"slices"
	"strconv"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// instanceType is what a launch needs to know of a type.
type instanceType struct {
	name         string
	vcpus        int
	architecture string
	needsENA     bool
}

// lookupType knows the general families. The local machine's real size is set
// when the local cloud is started, not by the type.
func lookupType(name string) (instanceType, bool) {
	family, size, _ := strings.Cut(name, ".")
	t, ok := families()[family]
	vcpus, sized := sizes()[size]
	t.name, t.vcpus = name, vcpus
	// Only burstable and the oldest types come smaller than large.
	small := vcpus == 2 && size != "large" && !strings.HasPrefix(family, "t") && family != "m1" && family != "m3"
	return t, ok && sized && !small
}

// families are the families that there are, with what their types have in common.
func families() map[string]instanceType {
	// The newer families (Nitro) have only ENA for a network card.
	out := map[string]instanceType{
		"m1": {architecture: "x86_64"}, "t1": {architecture: "x86_64"}, "m3": {architecture: "x86_64"},
		"t2": {architecture: "x86_64"}, "m4": {architecture: "x86_64"}, "c4": {architecture: "x86_64"}, "r4": {architecture: "x86_64"},
		"t3": {architecture: "x86_64", needsENA: true}, "t3a": {architecture: "x86_64", needsENA: true}, "t4g": {architecture: "arm64", needsENA: true},
	}
	for _, kind := range []string{"m", "c", "r"} {
		for _, gen := range []string{"5", "5a", "6i", "6a", "7i", "7a", "8i", "8a"} {
			out[kind+gen] = instanceType{architecture: "x86_64", needsENA: true}
		}
		for _, gen := range []string{"6g", "7g", "8g"} {
			out[kind+gen] = instanceType{architecture: "arm64", needsENA: true}
		}
	}
	return out
}

// sizes are the sizes of all families, with their virtual CPUs.
func sizes() map[string]int {
	return map[string]int{
		"nano": 2, "micro": 2, "small": 2, "medium": 2, "large": 2, "xlarge": 4, "2xlarge": 8, "4xlarge": 16, "8xlarge": 32, "12xlarge": 48, "16xlarge": 64,
	}
}

// memoryMiB follows AWS's rules: so much per virtual CPU by the kind of family,
// and the burstable types by their size.
func (t instanceType) memoryMiB() int {
	family, size, _ := strings.Cut(t.name, ".")
	burst := map[string]int{"nano": 512, "micro": 1024, "small": 2048, "medium": 4096}
	if mib, ok := burst[size]; ok {
		return mib
	}
	perCPU := map[byte]int{'c': 2, 'r': 8}[family[0]]
	if perCPU == 0 {
		perCPU = 4
	}
	return t.vcpus * perCPU << 10
}

// allTypes lists every type by its name.
func allTypes() []instanceType {
	var out []instanceType
	for family := range families() {
		for size := range sizes() {
			if t, ok := lookupType(family + "." + size); ok {
				out = append(out, t)
			}
		}
	}
	slices.SortFunc(out, func(a, b instanceType) int { return strings.Compare(a.name, b.name) })
	return out
}

type describeTypesReply struct {
	meta
	Types     set[typeItem] `xml:"instanceTypeSet"`
	NextToken string        `xml:"nextToken,omitempty"`
}

type typeItem struct {
	Name            string      `xml:"instanceType"`
	Current         bool        `xml:"currentGeneration"`
	BareMetal       bool        `xml:"bareMetal"`
	Burstable       bool        `xml:"burstablePerformanceSupported"`
	Hypervisor      string      `xml:"hypervisor"`
	FreeTier        bool        `xml:"freeTierEligible"`
	Storage         bool        `xml:"instanceStorageSupported"`
	Architectures   set[string] `xml:"processorInfo>supportedArchitectures"`
	VCPUs           int         `xml:"vCpuInfo>defaultVCpus"`
	MemoryMiB       int         `xml:"memoryInfo>sizeInMiB"`
	EnaSupport      string      `xml:"networkInfo>enaSupport"`
	RootDeviceTypes set[string] `xml:"supportedRootDeviceTypes"`
	Virtualization  set[string] `xml:"supportedVirtualizationTypes"`
	UsageClasses    set[string] `xml:"supportedUsageClasses"`
	BootModes       set[string] `xml:"supportedBootModes"`
	NitroTpm        string      `xml:"nitroTpmSupport"`
	EbsEncryption   string      `xml:"ebsInfo>encryptionSupport"`
	EbsOptimized    string      `xml:"ebsInfo>ebsOptimizedSupport"`
}

func (t instanceType) item() typeItem {
	item := typeItem{
		Name: t.name, Current: t.needsENA, Burstable: strings.HasPrefix(t.name, "t"), Hypervisor: "xen", FreeTier: t.name == "t3.micro",
		Architectures: set[string]{[]string{t.architecture}}, VCPUs: t.vcpus, MemoryMiB: t.memoryMiB(), EnaSupport: "supported",
		RootDeviceTypes: set[string]{[]string{"ebs"}}, Virtualization: set[string]{[]string{"hvm"}},
		UsageClasses: set[string]{[]string{"on-demand", "spot"}}, BootModes: set[string]{[]string{"legacy-bios"}},
		NitroTpm: "unsupported", EbsEncryption: "supported", EbsOptimized: "supported",
	}
	if t.needsENA {
		item.Hypervisor, item.EnaSupport, item.NitroTpm = "nitro", "required", "supported"
		item.BootModes.Items = []string{"legacy-bios", "uefi"}
	}
	if t.architecture == "arm64" {
		item.BootModes.Items = []string{"uefi"}
	}
	return item
}

func typeFilters() attributes[instanceType] {
	type it = instanceType
	items := func(f func(typeItem) []string) func(it) []string { return func(t it) []string { return f(t.item()) } }
	return attributes[it]{fields: map[string]func(it) []string{
		"instance-type":                         only(func(t it) string { return t.name }),
		"current-generation":                    boolText(func(t it) bool { return t.needsENA }),
		"bare-metal":                            only(func(it) string { return "false" }),
		"burstable-performance-supported":       boolText(func(t it) bool { return t.item().Burstable }),
		"hypervisor":                            only(func(t it) string { return t.item().Hypervisor }),
		"processor-info.supported-architecture": only(func(t it) string { return t.architecture }),
		"supported-boot-mode":                   items(func(i typeItem) []string { return i.BootModes.Items }),
		"supported-root-device-type":            items(func(i typeItem) []string { return i.RootDeviceTypes.Items }),
		"supported-virtualization-type":         items(func(i typeItem) []string { return i.Virtualization.Items }),
		"supported-usage-class":                 items(func(i typeItem) []string { return i.UsageClasses.Items }),
		"vcpu-info.default-vcpus":               only(func(t it) string { return strconv.Itoa(t.vcpus) }),
		"memory-info.size-in-mib":               only(func(t it) string { return strconv.Itoa(t.memoryMiB()) }),
		"nitro-tpm-support":                     only(func(t it) string { return t.item().NitroTpm }),
		"network-info.ena-support":              only(func(t it) string { return t.item().EnaSupport }),
	}}
}

// describeTypes shows what AWS says of the types; a machine here has the size
// that the local cloud was started with.
func (s *Service) describeTypes(r *request) (reply, error) {
	names, filters, pg := r.list("InstanceType"), r.filters(), r.paging(5)
	if err := r.checked(); err != nil {
		return nil, err
	}
	rows := allTypes()
	for _, name := range names {
		if _, ok := lookupType(name); !ok {
			return nil, call.Errorf("InvalidInstanceType", "The following supplied instance types do not exist: [%s]", name)
		}
	}
	if len(names) > 0 {
		rows = slices.DeleteFunc(rows, func(t instanceType) bool { return !slices.Contains(names, t.name) })
	}
	rows, err := typeFilters().keep(rows, filters)
	if err != nil {
		return nil, err
	}
	rows, next, err := page(s, r, pg, rows, func(t instanceType) string { return t.name })
	if err != nil {
		return nil, err
	}
	out := &describeTypesReply{NextToken: next}
	for _, t := range rows {
		out.Types.Items = append(out.Types.Items, t.item())
	}
	return out, nil
}

type describeOfferingsReply struct {
	meta
	Offerings set[offering] `xml:"instanceTypeOfferingSet"`
	NextToken string        `xml:"nextToken,omitempty"`
}

type offering struct {
	InstanceType string `xml:"instanceType"`
	LocationType string `xml:"locationType"`
	Location     string `xml:"location"`
}

// describeOfferings says that every type is to be had everywhere.
func (s *Service) describeOfferings(r *request) (reply, error) {
	kind := r.oneOf("LocationType", "region", "region", "availability-zone", "availability-zone-id")
	filters, pg := r.filters(), r.paging(5)
	if err := r.checked(); err != nil {
		return nil, err
	}
	var rows []offering
	for _, t := range allTypes() {
		switch kind {
		case "region":
			rows = append(rows, offering{t.name, kind, r.Region})
		default:
			for _, zone := range store.Zones(r.Region) {
				if kind == "availability-zone-id" {
					zone = zoneID(r.Region, zone)
				}
				rows = append(rows, offering{t.name, kind, zone})
			}
		}
	}
	rows, err := attributes[offering]{fields: map[string]func(offering) []string{
		"instance-type": only(func(o offering) string { return o.InstanceType }),
		"location":      only(func(o offering) string { return o.Location }),
	}}.keep(rows, filters)
	if err != nil {
		return nil, err
	}
	rows, next, err := page(s, r, pg, rows, func(o offering) string { return o.InstanceType + "/" + o.Location })
	if err != nil {
		return nil, err
	}
	return &describeOfferingsReply{Offerings: set[offering]{rows}, NextToken: next}, nil
}
