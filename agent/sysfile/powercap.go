package sysfile

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// EnergyZone is one zone of the kernel's powercap interface: one energy counter of a processor, called RAPL.
type EnergyZone struct {
	Dir   string // its folder, with the files energy_uj and max_energy_range_uj
	Label string // its name, as the kernel tells it, or why it has none
	Kind  string // package, core, uncore, dram or psys
	// Package is the number in the name of the package that the zone is or belongs to, Die that of the die in it or -1.
	Package, Die int
	// Err says why the zone is not one of these kinds, or has no name.
	Err error
}

// psys counts the whole platform, so that its place among the zones says nothing.
const psys = "psys"

// Counter is the path of the zone's counter.
func (z *EnergyZone) Counter() string { return filepath.Join(z.Dir, "energy_uj") }

// EnergyZones lists the zones below a root of sysfs by their numbers, parents first, and says where it looked. The flat list
// of the class is what kernels document; the nested folders below it hold the same zones and serve trees that have only
// those. Zones of intel-rapl-mmio show the same counters a second time and are left out.
func EnergyZones(sysRoot string) (zones []EnergyZone, places string) {
	class := filepath.Join(sysRoot, "class/powercap")
	virtual := filepath.Join(sysRoot, "devices/virtual/powercap")
	var dirs []string
	for _, base := range []string{class, filepath.Join(class, "intel-rapl"), filepath.Join(virtual, "intel-rapl"), virtual} {
		byName := map[string]string{}
		listZones(base, byName)
		if len(byName) == 0 {
			continue
		}
		for _, dir := range byName {
			dirs = append(dirs, dir)
		}
		break
	}
	slices.SortFunc(dirs, func(a, b string) int { return compareZones(filepath.Base(a), filepath.Base(b)) })
	for _, dir := range dirs {
		zones = append(zones, identifyZone(dir, dirs))
	}
	return zones, class + " or " + virtual
}

// ReadableEnergyZone returns the path of a counter that can be read, or an empty string: whether RAPL measures anything here.
// What measures by RAPL and what stands in for it must ask the same question, or a machine has both or neither.
func ReadableEnergyZone(sysRoot string) string {
	zones, _ := EnergyZones(sysRoot)
	for i := range zones {
		if zones[i].Err != nil {
			continue
		}
		if _, err := ReadUint(zones[i].Counter()); err == nil {
			return zones[i].Counter()
		}
	}
	return ""
}

// listZones adds the zones in a folder and the ones nested in them.
func listZones(base string, byName map[string]string) {
	entries, err := os.ReadDir(base)
	if err != nil {
		return
	}
	for _, e := range entries {
		if _, ok := zoneNumbers(e.Name()); !ok || byName[e.Name()] != "" {
			continue
		}
		dir := filepath.Join(base, e.Name())
		byName[e.Name()] = dir
		listZones(dir, byName)
	}
}

// zoneNumbers splits `intel-rapl:0:1` into its numbers.
func zoneNumbers(name string) ([]int, bool) {
	rest, ok := strings.CutPrefix(name, "intel-rapl:")
	if !ok {
		return nil, false
	}
	var list []int
	for part := range strings.SplitSeq(rest, ":") {
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 {
			return nil, false
		}
		list = append(list, n)
	}
	return list, true
}

// compareZones orders packages before what is in them and by number, so that intel-rapl:10 comes after intel-rapl:9.
func compareZones(a, b string) int {
	x, _ := zoneNumbers(a)
	y, _ := zoneNumbers(b)
	if len(x) != len(y) {
		return len(x) - len(y)
	}
	return slices.Compare(x, y)
}

// identifyZone reads what a zone counts, from its name and, for a part of a package, from its parent's.
func identifyZone(dir string, all []string) EnergyZone {
	z := EnergyZone{Dir: dir, Kind: "package", Die: -1}
	if z.Label, z.Err = ReadText(filepath.Join(dir, "name")); z.Err != nil {
		z.Label = z.Err.Error()
		return z
	}
	if z.Label == psys {
		z.Kind = psys
		return z
	}
	owner := z.Label
	if numbers, _ := zoneNumbers(filepath.Base(dir)); len(numbers) > 1 {
		if z.Kind = z.Label; !slices.Contains([]string{"core", "uncore", "dram"}, z.Kind) {
			z.Err = fmt.Errorf("%w: zone %q", ErrSyntax, z.Label)
			return z
		}
		if owner, z.Err = ReadText(filepath.Join(parentZone(dir, all), "name")); z.Err != nil {
			return z
		}
	}
	z.Package, z.Die, z.Err = packageNumbers(owner)
	return z
}

// parentZone returns the folder of the package that a zone is part of.
func parentZone(dir string, all []string) string {
	name := filepath.Base(dir)
	name = name[:strings.LastIndexByte(name, ':')]
	i := slices.IndexFunc(all, func(d string) bool { return filepath.Base(d) == name })
	if i < 0 {
		return filepath.Dir(dir)
	}
	return all[i]
}

// packageNumbers parses `package-1` and, on processors with several dies in a package, `package-1-die-0`.
func packageNumbers(name string) (pkg, die int, err error) {
	rest, ok := strings.CutPrefix(name, "package-")
	if !ok {
		return 0, -1, fmt.Errorf("%w: zone %q", ErrSyntax, name)
	}
	number, dieNumber, hasDie := strings.Cut(rest, "-die-")
	die = -1
	if hasDie {
		if die, err = strconv.Atoi(dieNumber); err != nil || die < 0 {
			return 0, -1, fmt.Errorf("%w: zone %q", ErrSyntax, name)
		}
	}
	if pkg, err = strconv.Atoi(number); err != nil || pkg < 0 {
		return 0, -1, fmt.Errorf("%w: zone %q", ErrSyntax, name)
	}
	return pkg, die, nil
}
