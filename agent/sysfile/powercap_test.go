package sysfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// powercap makes zones: `class/powercap/intel-rapl:0=package-0` is one with that name and a counter.
func powercap(t *testing.T, zones ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, z := range zones {
		dir, name, _ := strings.Cut(z, "=")
		dir = filepath.Join(root, dir)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for file, text := range map[string]string{"name": name, "energy_uj": "7"} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return root
}

func TestEnergyZones(t *testing.T) {
	root := powercap(t, "class/powercap/intel-rapl:10=package-1-die-3", "class/powercap/intel-rapl:9=psys",
		"class/powercap/intel-rapl:10:0=dram", "class/powercap/intel-rapl:9:0=core", "class/powercap/intel-rapl:11=thing",
		"class/powercap/intel-rapl:10:1=camera", "class/powercap/intel-rapl-mmio:0=package-0")
	zones, places := EnergyZones(root)
	var got []string
	for _, z := range zones {
		text := fmt.Sprintf("%s %s %d %d", filepath.Base(z.Dir), z.Kind, z.Package, z.Die)
		if z.Err != nil {
			text = filepath.Base(z.Dir) + " " + z.Label
		}
		got = append(got, text)
	}
	want := "intel-rapl:9 psys 0 -1, intel-rapl:10 package 1 3, intel-rapl:11 thing, intel-rapl:9:0 core, intel-rapl:10:0 dram 1 3, intel-rapl:10:1 camera"
	if strings.Join(got, ", ") != want {
		t.Errorf("zones %s\nwant  %s", strings.Join(got, ", "), want)
	}
	if !strings.Contains(places, filepath.Join(root, "devices/virtual/powercap")) {
		t.Errorf("places %s", places)
	}
}

func TestReadableEnergyZone(t *testing.T) {
	for name, c := range map[string]struct {
		zones  []string
		broken string
		want   string
	}{
		"none":            {},
		"package":         {zones: []string{"class/powercap/intel-rapl:0=package-0"}, want: "class/powercap/intel-rapl:0"},
		"nested":          {zones: []string{"devices/virtual/powercap/intel-rapl/intel-rapl:0=package-0"}, want: "devices/virtual/powercap/intel-rapl/intel-rapl:0"},
		"platform":        {zones: []string{"class/powercap/intel-rapl:1=psys"}, want: "class/powercap/intel-rapl:1"},
		"unknown name":    {zones: []string{"class/powercap/intel-rapl:0=thing"}},
		"not readable":    {zones: []string{"class/powercap/intel-rapl:0=package-0"}, broken: "class/powercap/intel-rapl:0"},
		"the second only": {zones: []string{"class/powercap/intel-rapl:0=package-0", "class/powercap/intel-rapl:1=package-1"}, broken: "class/powercap/intel-rapl:0", want: "class/powercap/intel-rapl:1"},
	} {
		root := powercap(t, c.zones...)
		if c.broken != "" {
			if err := os.WriteFile(filepath.Join(root, c.broken, "energy_uj"), []byte("x"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want := ""
		if c.want != "" {
			want = filepath.Join(root, c.want, "energy_uj")
		}
		if got := ReadableEnergyZone(root); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestZoneWithoutName(t *testing.T) {
	root := powercap(t, "class/powercap/intel-rapl:0=package-0")
	if err := os.Remove(filepath.Join(root, "class/powercap/intel-rapl:0/name")); err != nil {
		t.Fatal(err)
	}
	zones, _ := EnergyZones(root)
	if len(zones) != 1 || !errors.Is(zones[0].Err, os.ErrNotExist) || !strings.Contains(zones[0].Label, "name") {
		t.Errorf("zones %+v", zones)
	}
}

func FuzzPackageNumbers(f *testing.F) {
	for _, s := range []string{"package-0", "package-1-die-0", "package-", "core", "package-1-die-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		pkg, die, err := packageNumbers(s)
		if err == nil && (pkg < 0 || die < -1 || !strings.HasPrefix(s, "package-")) {
			t.Errorf("packageNumbers(%q) = %d, %d", s, pkg, die)
		}
	})
}

func FuzzZoneNumbers(f *testing.F) {
	f.Add("intel-rapl:0:1")
	f.Add("intel-rapl-mmio:0")
	f.Fuzz(func(t *testing.T, s string) {
		if list, ok := zoneNumbers(s); ok != (len(list) > 0) {
			t.Errorf("zoneNumbers(%q) = %v, %v", s, list, ok)
		}
	})
}
