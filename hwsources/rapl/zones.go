package rapl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/agent/sysfile"
)

// domain is one of the areas that RAPL counts.
type domain struct {
	zone     string // kind of its powercap zone
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

// domainPlatform is the place in domains that the code asks for.
const domainPlatform = 4

// zone is one powercap zone: one counter of the hardware.
type zone struct {
	domain int
	// pkg is the package as powercap numbers it, die the die in it or -1. Further platform zones, which no package numbers,
	// count on.
	pkg, die int
	// socket is pkg as the topology knows it; -1: the whole node.
	socket int
	// maxUW bounds the zone's power.
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
	found, places := sysfile.EnergyZones(s.Sys)
	if len(found) == 0 {
		return nil, fmt.Errorf("%w: no intel-rapl zone in %s: either the processor or the virtual machine has no energy counters, "+
			"or the driver is not loaded: try modprobe intel_rapl_msr (it brings intel_rapl_common) as root", agent.ErrNotSupported, places)
	}
	f := &finder{setup: s, top: top}
	for i := range found {
		f.add(&found[i])
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

// add opens a zone and appends it, unless it is unknown, a double, or not readable.
func (f *finder) add(e *sysfile.EnergyZone) {
	dir := filepath.Base(e.Dir)
	if e.Err != nil {
		f.ignored = append(f.ignored, fmt.Sprintf("%s (%s)", dir, e.Label))
		return
	}
	z := &zone{pkg: e.Package, die: e.Die, path: e.Counter()}
	z.domain = slices.IndexFunc(domains[:], func(d domain) bool { return d.zone == e.Kind })
	same := func(o *zone) bool { return o.domain == z.domain && o.pkg == z.pkg && o.die == z.die }
	for slices.ContainsFunc(f.zones, same) {
		if z.domain != domainPlatform {
			f.ignored = append(f.ignored, fmt.Sprintf("%s (a second %s)", dir, e.Label))
			return
		}
		z.pkg++
	}
	if err := z.open(e.Dir); err != nil {
		f.failed++
		if errors.Is(err, fs.ErrPermission) {
			f.denied = err
		}
		f.ignored = append(f.ignored, fmt.Sprintf("%s (%s: %v)", dir, e.Label, err))
		return
	}
	f.zones = append(f.zones, z)
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
	if z.maxUW = maxPower(dir); z.domain == domainPlatform {
		z.maxUW = max(z.maxUW, platformMaxPowerUW)
	}
	return nil
}

// Bounds of a zone's power. They only have to tell a wrap from a reset, which differ by orders of magnitude, so they are
// far above what a zone can draw: processors exceed the power they are designed for by up to four times for a short while,
// small ones by more. No package or memory draws a kilowatt; what psys counts may be a node full of accelerators. A larger
// bound would cost energy, too: after a pause in which the counter could have wrapped at that power, nothing is known.
const (
	maxPowerFactor     = 4
	minMaxPowerUW      = 150e6
	defaultMaxPowerUW  = 1000e6
	platformMaxPowerUW = 10000e6
)

// maxPower bounds the power of a zone in µW, from the largest limit that the processor says it can be given. Where it says
// none, as AMD's do not, there must be a bound all the same: without one every reset looks like a wrap and books the range.
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
		return defaultMaxPowerUW
	}
	return max(maxPowerFactor*most, minMaxPowerUW)
}

// resource is what the zone measures. It goes by the socket, as what other plugins say of the same package does, and by
// powercap's number only where the socket is not known.
func (z *zone) resource() agent.Resource {
	if z.socket >= 0 {
		return domains[z.domain].resource(z.socket)
	}
	return domains[z.domain].resource(z.pkg)
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
