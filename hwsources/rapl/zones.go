package rapl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/agent/sysfile"
)

// domain is one of the areas that RAPL counts.
type domain struct {
	zone     string // name of its powercap zone; packages have a number behind it
	name     string // value of the attribute `domain`
	sensor   string // in the name of its sensor
	resource func(pkg int) agent.Resource
	scope    agent.Scope
}

// domains lists the areas in the order in which their points are made. It is never changed.
var domains = [...]domain{
	{"package", "package", "package", agent.CPUPackage, agent.ScopeComponent},
	{"core", "pp0", "pp0", agent.CPUPackage, agent.ScopePart},
	{"uncore", "pp1", "pp1", agent.CPUPackage, agent.ScopePart},
	{"dram", "dram", "dram", agent.DRAM, agent.ScopeComponent},
	{"psys", "platform", "platform", func(int) agent.Resource { return agent.LocalMachine() }, agent.ScopeNode},
}

// The places in domains that the code asks for.
const (
	domainPackage  = 0
	domainPlatform = 4
)

// zone is one powercap zone: one counter of the hardware.
type zone struct {
	domain int
	// pkg is the physical package, die the die in it or -1. Further platform zones, which no package numbers, count on.
	pkg, die int
	// socket is pkg as the topology knows it; -1: the whole node.
	socket int
	// maxUW bounds the zone's power; 0: not known.
	maxUW   uint64
	counter sysfile.Counter
	sensor  *agent.Sensor

	path string        // of energy_uj
	file *sysfile.File // nil after it was gone, until it can be opened again
	last int64         // ledger time of the previous reading in ns
}

// finder collects the zones of a machine.
type finder struct {
	setup   *agent.Setup
	top     sysfile.Topology
	zones   []*zone
	ignored []string
	// failed counts the known zones among the ignored ones, denied is such a zone's lack of permission.
	failed int
	denied error
}

// findZones opens all known zones. Its error says what was looked for and what to do.
func findZones(s *agent.Setup, top sysfile.Topology) ([]*zone, error) {
	dirs, places := zoneDirs(s.Sys)
	if len(dirs) == 0 {
		return nil, fmt.Errorf("%w: no intel-rapl zone in %s: either the processor or the virtual machine has no energy counters, "+
			"or the driver is not loaded: try modprobe intel_rapl_msr (it brings intel_rapl_common) as root", agent.ErrNotSupported, places)
	}
	f := &finder{setup: s, top: top}
	for _, dir := range dirs {
		f.add(dir, dirs)
	}
	if len(f.ignored) > 0 {
		level := slog.LevelInfo
		if f.failed > 0 {
			level = slog.LevelWarn
		}
		s.Log.Log(context.Background(), level, "powercap zones are ignored", "zones", strings.Join(f.ignored, ", "))
	}
	if len(f.zones) == 0 {
		if f.denied != nil {
			return nil, fmt.Errorf("%w: %w: the energy counters are readable by root only: run as root or with the capability "+
				"CAP_DAC_READ_SEARCH", agent.ErrNotSupported, f.denied)
		}
		return nil, fmt.Errorf("%w: no readable zone named package-N, core, uncore, dram or psys in %s; ignored: %s",
			agent.ErrNotSupported, places, strings.Join(f.ignored, ", "))
	}
	f.resolveSockets()
	for _, z := range f.zones {
		z.sensor = sensorOf(z, s.Sys)
	}
	return f.zones, nil
}

// zoneDirs lists the folders of all zones by their names, `intel-rapl:0` and `intel-rapl:0:1`, parents first. The flat list
// of the class is what kernels document; the nested folders below it hold the same zones and serve trees that have only
// those. Zones of intel-rapl-mmio show the same counters a second time and are left out.
func zoneDirs(sysRoot string) (dirs []string, places string) {
	class := filepath.Join(sysRoot, "class/powercap")
	virtual := filepath.Join(sysRoot, "devices/virtual/powercap")
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
	return dirs, class + " or " + virtual
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

// add opens the zone of a folder and appends it, unless it is unknown, a double, or not readable.
func (f *finder) add(dir string, all []string) {
	z, label, err := identify(dir, all)
	if err != nil {
		f.ignored = append(f.ignored, fmt.Sprintf("%s (%s)", filepath.Base(dir), label))
		return
	}
	same := func(o *zone) bool { return o.domain == z.domain && o.pkg == z.pkg && o.die == z.die }
	for slices.ContainsFunc(f.zones, same) {
		if z.domain != domainPlatform {
			f.ignored = append(f.ignored, fmt.Sprintf("%s (a second %s)", filepath.Base(dir), label))
			return
		}
		z.pkg++
	}
	if err := z.open(dir); err != nil {
		f.failed++
		if errors.Is(err, fs.ErrPermission) {
			f.denied = err
		}
		f.ignored = append(f.ignored, fmt.Sprintf("%s (%s: %v)", filepath.Base(dir), label, err))
		return
	}
	f.zones = append(f.zones, z)
}

// identify reads what a zone counts, from its name and, for a part of a package, from its parent's.
func identify(dir string, all []string) (z *zone, label string, err error) {
	label, err = sysfile.ReadText(filepath.Join(dir, "name"))
	if err != nil {
		return nil, err.Error(), err
	}
	z = &zone{die: -1, path: filepath.Join(dir, "energy_uj")}
	if label == domains[domainPlatform].zone {
		z.domain = domainPlatform
		return z, label, nil
	}
	owner := label
	if numbers, _ := zoneNumbers(filepath.Base(dir)); len(numbers) > 1 {
		z.domain = slices.IndexFunc(domains[:], func(d domain) bool { return d.zone == label })
		if z.domain <= domainPackage {
			return nil, label, sysfile.ErrSyntax
		}
		if owner, err = sysfile.ReadText(filepath.Join(parentOf(dir, all), "name")); err != nil {
			return nil, label, err
		}
	}
	z.pkg, z.die, err = packageNumbers(owner)
	return z, label, err
}

// parentOf returns the folder of the package that a zone is part of.
func parentOf(dir string, all []string) string {
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
		return 0, -1, fmt.Errorf("%w: zone %q", sysfile.ErrSyntax, name)
	}
	number, dieNumber, hasDie := strings.Cut(rest, "-die-")
	die = -1
	if hasDie {
		if die, err = strconv.Atoi(dieNumber); err != nil || die < 0 {
			return 0, -1, fmt.Errorf("%w: zone %q", sysfile.ErrSyntax, name)
		}
	}
	if pkg, err = strconv.Atoi(number); err != nil || pkg < 0 {
		return 0, -1, fmt.Errorf("%w: zone %q", sysfile.ErrSyntax, name)
	}
	return pkg, die, nil
}

// open opens the zone's counter and reads it once, so that what cannot be read is known before the first tick.
func (z *zone) open(dir string) error {
	var err error
	if z.file, err = sysfile.Open(z.path); err != nil {
		return err
	}
	var buf [bufSize]byte
	if _, err := z.file.Uint(buf[:]); err != nil {
		z.file.Close()
		return err
	}
	// A range that cannot be read is not known: a counter that goes backwards then was reset.
	z.counter.Max, _ = sysfile.ReadUint(filepath.Join(dir, "max_energy_range_uj"))
	z.maxUW = maxPower(dir)
	return nil
}

// Bounds of a zone's power. They only have to tell a wrap from a reset, which differ by orders of magnitude, so they are
// far above what a zone can draw: processors exceed the power they are designed for by up to four times for a short while,
// small ones by more.
const (
	maxPowerFactor = 4
	minMaxPowerUW  = 150e6
)

// maxPower bounds the power of a zone in µW, from the largest limit that the processor says it can be given; 0 where it
// says none, as AMD's do not.
func maxPower(dir string) uint64 {
	paths, _ := filepath.Glob(filepath.Join(dir, "constraint_*_max_power_uw"))
	var most uint64
	for _, p := range paths {
		if v, err := sysfile.ReadUint(p); err == nil {
			most = max(most, v)
		}
	}
	// More than a megawatt is a firmware's way to say that there is no limit.
	if most == 0 || most > 1e12 {
		return 0
	}
	return max(maxPowerFactor*most, minMaxPowerUW)
}

// resolveSockets finds the socket of each package in the topology. Zones are named after the physical package; where the
// names match no socket but their number does, they count the sockets in order. Otherwise they cover the whole node.
func (f *finder) resolveSockets() {
	var unknown, pkgs []int
	for _, z := range f.zones {
		if z.domain == domainPlatform || slices.Contains(pkgs, z.pkg) {
			continue
		}
		pkgs = append(pkgs, z.pkg)
		if !f.top.Has(z.pkg) {
			unknown = append(unknown, z.pkg)
		}
	}
	slices.Sort(pkgs)
	inOrder := len(pkgs) == len(f.top.Sockets)
	for _, z := range f.zones {
		switch {
		case z.domain == domainPlatform:
			z.socket = -1
		case len(unknown) == 0 || len(f.top.Sockets) == 0:
			z.socket = z.pkg
		case inOrder:
			z.socket = f.top.Sockets[slices.Index(pkgs, z.pkg)].ID
		default:
			z.socket = -1
		}
	}
	if len(unknown) > 0 && len(f.top.Sockets) > 0 {
		f.setup.Log.Warn("powercap names packages that the topology does not have", "packages", unknown, "matched_by_order", inOrder)
	}
}
