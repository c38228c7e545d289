package rapl

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/agent/agenttest"
	"github.com/alumet-hpc/alumet-hpc/agent/config"
)

const virtual = "sys/devices/virtual/powercap/intel-rapl/"

func tree(t *testing.T, machine string) string {
	t.Helper()
	return agenttest.Tree(t, agenttest.Recording(t, "testdata/"+machine+".txtar"))
}

// set sets counters by their zones: "0" is intel-rapl:0 and "0:1" the part intel-rapl:0:1.
func set(t *testing.T, root string, counters map[string]uint64) {
	t.Helper()
	for zone, v := range counters {
		path := virtual
		parent, _, isPart := strings.Cut(zone, ":")
		if path += "intel-rapl:" + parent; isPart {
			path += "/intel-rapl:" + zone
		}
		agenttest.Set(t, root, path+"/energy_uj", fmt.Sprintln(v))
	}
}

func TestXeon(t *testing.T) {
	root := tree(t, "xeon")
	p := agenttest.Open(t, Plugin(), nil, root)
	if points := p.MustPoll("in"); len(points) > 0 {
		t.Errorf("the first poll gives points:\n%s", agenttest.Points(points))
	}
	const first = "rapl:package:0 262143000000 µJ\nrapl:package:1 1000000 µJ\nrapl:dram:0 64000000000 µJ\nrapl:dram:1 2000000 µJ\n"
	if got := agenttest.Readings(p.Meter.Take()); got != first {
		t.Errorf("readings:\n%s", agenttest.Diff(first, got))
	}
	// Package 0 wraps: 328850 µJ to the end of its range, one to 0, 171149 from there.
	set(t, root, map[string]uint64{"0": 171149, "0:0": 64001500000, "1": 61000000, "1:0": 2000000})
	agenttest.CheckPoints(t, p.MustPoll("in"), `
rapl_consumed_energy_J 0.5 cpu_package/0 local_machine/ domain=package
rapl_consumed_energy_J 60 cpu_package/1 local_machine/ domain=package
rapl_consumed_energy_J 1.5 dram/0 local_machine/ domain=dram
rapl_consumed_energy_J 0 dram/1 local_machine/ domain=dram
rapl_consumed_energy_J 60.5 local_machine/ local_machine/ domain=package_total
rapl_consumed_energy_J 1.5 local_machine/ local_machine/ domain=dram_total`)
	// An edge tells the meter only, and the next poll still has the whole difference.
	p.Meter.Take()
	set(t, root, map[string]uint64{"0": 1171149})
	if err := p.Edge("in"); err != nil {
		t.Error(err)
	}
	if got := p.Meter.Take(); len(got) != 4 || got[0].Value != 1171149 || got[0].T != p.Now().Boot {
		t.Errorf("edge: %v", got)
	}
	set(t, root, map[string]uint64{"0": 2171149})
	if got := p.MustPoll("in")[0].Value.Float(); got != 2 {
		t.Errorf("the poll after an edge gives %v J; want 2", got)
	}
}

func TestSensors(t *testing.T) {
	for machine, want := range map[string]string{
		"xeon": `
rapl:package:0 cpu_package/0 package socket=0 component range=262143328850 max=1188 W
rapl:package:1 cpu_package/1 package socket=1 component range=262143328850 max=1188 W
rapl:dram:0 dram/0 dram socket=0 component range=65712999613 max=150 W
rapl:dram:1 dram/1 dram socket=1 component range=65712999613 max=150 W`,
		"laptop": `
rapl:package:0 cpu_package/0 package socket=0 component range=262143328850 max=150 W
rapl:platform local_machine/ platform socket=-1 node range=262143328850 max=10000 W
rapl:pp0:0 cpu_package/0 pp0 socket=0 part range=262143328850 max=1000 W
rapl:pp1:0 cpu_package/0 pp1 socket=0 part range=262143328850 max=1000 W`,
		"epyc": `
rapl:package:0 cpu_package/0 package socket=0 component range=65532610987 max=1000 W
rapl:package:1 cpu_package/1 package socket=1 component range=65532610987 max=1000 W
rapl:pp0:0 cpu_package/0 pp0 socket=0 part range=65532610987 max=1000 W
rapl:pp0:1 cpu_package/1 pp0 socket=1 part range=65532610987 max=1000 W`,
		"dies": `
rapl:package:0:die:0 cpu_package/0 package socket=0 component range=262143328850 max=1000 W
rapl:package:0:die:1 cpu_package/0 package socket=0 component range=262143328850 max=1000 W
rapl:dram:0:die:0 dram/0 dram socket=0 component range=65712999613 max=1000 W
rapl:dram:0:die:1 dram/0 dram socket=0 component range=65712999613 max=1000 W`,
	} {
		t.Run(machine, func(t *testing.T) {
			root := tree(t, machine)
			p := agenttest.Open(t, Plugin(), nil, root)
			var got strings.Builder
			for _, s := range p.Meter.Sensors() {
				fmt.Fprintf(&got, "\n%s %s/%s %s socket=%d %s range=%d max=%d W", s.Name, s.Resource.Kind, s.Resource.ID, s.Domain, s.Socket,
					s.Scope, s.RangeUJ, s.MaxUW/1e6)
				if _, die, _ := strings.Cut(s.Name, ":die:"); s.Part != "" && s.Part != "die:"+die || machine == "dies" && s.Part == "" {
					t.Errorf("%s: part %q", s.Name, s.Part)
				}
				if s.Root != root+"/sys" || s.StepNs != 1e6 || s.Holders || s.Estimated || s.Integrated {
					t.Errorf("%s: %+v", s.Name, s)
				}
			}
			if got.String() != want {
				t.Errorf("sensors:\n%s", agenttest.Diff(want, got.String()))
			}
		})
	}
}

func TestRealRootIsNotTold(t *testing.T) {
	z := &zone{die: -1}
	if s := sensorOf(z, "/sys/"); s.Root != "" {
		t.Errorf("Root = %q", s.Root)
	}
}

func TestLaptop(t *testing.T) {
	root := tree(t, "laptop")
	p := agenttest.Open(t, Plugin(), nil, root)
	p.MustPoll("in")
	set(t, root, map[string]uint64{"0": 15000000, "0:0": 8000000, "0:1": 1100000, "1": 29000000})
	agenttest.CheckPoints(t, p.MustPoll("in"), `
rapl_consumed_energy_J 10 cpu_package/0 local_machine/ domain=package
rapl_consumed_energy_J 5 cpu_package/0 local_machine/ domain=pp0
rapl_consumed_energy_J 1 cpu_package/0 local_machine/ domain=pp1
rapl_consumed_energy_J 20 local_machine/ local_machine/ domain=platform
rapl_consumed_energy_J 10 local_machine/ local_machine/ domain=package_total
rapl_consumed_energy_J 5 local_machine/ local_machine/ domain=pp0_total
rapl_consumed_energy_J 1 local_machine/ local_machine/ domain=pp1_total
rapl_consumed_energy_J 20 local_machine/ local_machine/ domain=platform_total`)
}

func TestDiesAreSummed(t *testing.T) {
	root := tree(t, "dies")
	p := agenttest.Open(t, Plugin(), nil, root)
	p.MustPoll("in")
	set(t, root, map[string]uint64{"0": 1000100, "1": 2000200, "0:0": 500010, "1:0": 20})
	agenttest.CheckPoints(t, p.MustPoll("in"), `
rapl_consumed_energy_J 3 cpu_package/0 local_machine/ domain=package
rapl_consumed_energy_J 0.5 dram/0 local_machine/ domain=dram
rapl_consumed_energy_J 3 local_machine/ local_machine/ domain=package_total
rapl_consumed_energy_J 0.5 local_machine/ local_machine/ domain=dram_total`)
}

// A counter that goes back was reset when the energy of a wrap is more than the package can draw, and wrapped when not.
func TestReset(t *testing.T) {
	root := tree(t, "xeon")
	p := agenttest.Open(t, Plugin(), nil, root)
	p.MustPoll("in")
	set(t, root, map[string]uint64{"0": 262143000001, "1": 100, "1:0": 2000010})
	points := agenttest.Points(p.MustPoll("in"))
	if strings.Contains(points, "cpu_package/1") || strings.Contains(points, "package_total") || !strings.Contains(points, "domain=dram_total") {
		t.Errorf("points after a reset of package 1:\n%s", points)
	}
	set(t, root, map[string]uint64{"0": 262143000002, "1": 5000100})
	agenttest.CheckPoints(t, p.MustPoll("in"), `
rapl_consumed_energy_J 0.000001 cpu_package/0 local_machine/ domain=package
rapl_consumed_energy_J 5 cpu_package/1 local_machine/ domain=package
rapl_consumed_energy_J 0 dram/0 local_machine/ domain=dram
rapl_consumed_energy_J 0 dram/1 local_machine/ domain=dram
rapl_consumed_energy_J 5.000002 local_machine/ local_machine/ domain=package_total
rapl_consumed_energy_J 0 local_machine/ local_machine/ domain=dram_total`)
}

// Firmware that tells no limit, as AMD's, has a bound all the same: a counter set back a little did not count its range.
func TestResetWithoutLimitOfFirmware(t *testing.T) {
	root := tree(t, "epyc")
	set(t, root, map[string]uint64{"0": 200e6})
	p := agenttest.Open(t, Plugin(), nil, root)
	p.MustPoll("in")
	set(t, root, map[string]uint64{"0": 100e6})
	if points := agenttest.Points(p.MustPoll("in")); strings.Contains(points, "cpu_package/0 local_machine/ domain=package") {
		t.Errorf("points after a reset:\n%s", points)
	}
	set(t, root, map[string]uint64{"0": 65532610987})
	p.Advance(2 * time.Minute) // the range is 65 kJ: at 1 kW it could have wrapped
	if points := agenttest.Points(p.MustPoll("in")); strings.Contains(points, "cpu_package/0 local_machine/ domain=package") {
		t.Errorf("points after a pause longer than the range:\n%s", points)
	}
	// 300 W wrap as they should: one to 0, and the rest from there.
	set(t, root, map[string]uint64{"0": 300e6 - 1})
	if got := p.MustPoll("in")[0].Value.Float(); got != 300 {
		t.Errorf("the poll over a wrap gives %v J", got)
	}
}

// A firmware's way to say that there is no limit is no bound.
func TestLimitThatIsNone(t *testing.T) {
	root := tree(t, "epyc")
	agenttest.Set(t, root, virtual+"intel-rapl:0/constraint_0_max_power_uw", "18446744073709551615\n")
	p := agenttest.Open(t, Plugin(), nil, root)
	if got := p.Meter.ByName("rapl:package:0").MaxUW; got != defaultMaxPowerUW {
		t.Errorf("MaxUW = %d", got)
	}
}

// After so long a pause that the counter could have wrapped unseen, its difference means nothing.
func TestPauseLongerThanRange(t *testing.T) {
	root := tree(t, "xeon")
	p := agenttest.Open(t, Plugin(), nil, root)
	p.MustPoll("in")
	p.Advance(10 * time.Minute)
	set(t, root, map[string]uint64{"0": 262143000009, "0:0": 64000000000, "1": 1000007})
	if points := p.MustPoll("in"); len(points) != 0 {
		t.Errorf("points:\n%s", agenttest.Points(points))
	}
	set(t, root, map[string]uint64{"0": 262143100009})
	if got := p.MustPoll("in")[0].Value.Float(); got != 0.1 {
		t.Errorf("the next poll gives %v J", got)
	}
}

func TestBrokenZone(t *testing.T) {
	root := tree(t, "xeon")
	p := agenttest.Open(t, Plugin(), nil, root)
	p.MustPoll("in")
	p.Meter.Take()
	zone0 := virtual + "intel-rapl:0/energy_uj"
	agenttest.Set(t, root, zone0, "oops\n")
	set(t, root, map[string]uint64{"1": 4000000})
	points, err := p.Poll("in")
	if err == nil || !strings.Contains(err.Error(), "intel-rapl:0/energy_uj") || errors.Is(err, agent.ErrGone) {
		t.Errorf("Poll = %v; want an error that names the file", err)
	}
	agenttest.CheckPoints(t, points, `
rapl_consumed_energy_J 3 cpu_package/1 local_machine/ domain=package
rapl_consumed_energy_J 0 dram/0 local_machine/ domain=dram
rapl_consumed_energy_J 0 dram/1 local_machine/ domain=dram
rapl_consumed_energy_J 0 local_machine/ local_machine/ domain=dram_total`)
	if got := p.Meter.Take(); len(got) != 3 {
		t.Errorf("readings: %v", got)
	}
	// When the zone is back, its point and the total have the energy of both intervals.
	set(t, root, map[string]uint64{"0": 262143000500, "1": 4500000})
	agenttest.CheckPoints(t, p.MustPoll("in"), `
rapl_consumed_energy_J 0.0005 cpu_package/0 local_machine/ domain=package
rapl_consumed_energy_J 0.5 cpu_package/1 local_machine/ domain=package
rapl_consumed_energy_J 0 dram/0 local_machine/ domain=dram
rapl_consumed_energy_J 0 dram/1 local_machine/ domain=dram
rapl_consumed_energy_J 3.5005 local_machine/ local_machine/ domain=package_total
rapl_consumed_energy_J 0 local_machine/ local_machine/ domain=dram_total`)
	for _, zone := range []string{"0", "1"} {
		agenttest.Set(t, root, virtual+"intel-rapl:"+zone+"/energy_uj", "")
	}
	if _, err := p.Poll("in"); err == nil || !strings.Contains(err.Error(), "1 more of 4 zones") {
		t.Errorf("Poll = %v", err)
	}
	if err := p.Edge("in"); err == nil {
		t.Error("Edge does not tell the error")
	}
}

// A plain file cannot be made to answer ENODEV, so the way back from it is tried on the zone itself.
func TestZoneComesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "energy_uj")
	z := &zone{path: path}
	var buf [bufSize]byte
	if _, err := z.read(buf[:]); !errors.Is(err, os.ErrNotExist) || errors.Is(err, agent.ErrGone) {
		t.Errorf("read = %v", err)
	}
	if err := os.WriteFile(path, []byte("77\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if v, err := z.read(buf[:]); v != 77 || err != nil {
		t.Errorf("read = %d, %v", v, err)
	}
	z.file.Close()
}

func TestNotSupported(t *testing.T) {
	for name, c := range map[string]struct {
		tree string
		want []string
	}{
		"nothing":              {"-- sys/devices/system/cpu/online --\n0\n", []string{"no intel-rapl zone", "class/powercap", "modprobe intel_rapl_msr"}},
		"module without zones": {"-- sys/class/powercap/intel-rapl/enabled --\n1\n", []string{"no intel-rapl zone"}},
		"unknown names": {"-- sys/class/powercap/intel-rapl:0/name --\nthing-0\n-- sys/class/powercap/intel-rapl:0/energy_uj --\n1\n",
			[]string{"no readable zone named package-N", "intel-rapl:0 (thing-0)"}},
		"no counter": {"-- sys/class/powercap/intel-rapl:0/name --\npackage-0\n", []string{"energy_uj", "no such file"}},
		"no number": {"-- sys/class/powercap/intel-rapl:0/name --\npackage-0\n-- sys/class/powercap/intel-rapl:0/energy_uj --\nx\n",
			[]string{"energy_uj", "no number"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := agenttest.TryOpen(t, Plugin(), nil, agenttest.Tree(t, []byte(c.tree)))
			if !errors.Is(err, agent.ErrNotSupported) {
				t.Fatalf("open = %v; want ErrNotSupported", err)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("open = %v; want %q in it", err, w)
				}
			}
		})
	}
}

// asNobody gives up root's right to read everything, for the files that this test's thread opens until it ends. root and
// the folders around it, which only their owner may enter, are opened for everybody.
func asNobody(t *testing.T, root string) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	for dir := root; dir != filepath.Clean(os.TempDir()) && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	runtime.LockOSThread()
	if _, err := unix.SetfsuidRetUid(65534); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := unix.SetfsuidRetUid(0); err != nil {
			t.Error(err)
		}
		runtime.UnlockOSThread()
	})
}

func TestNoPermission(t *testing.T) {
	root := tree(t, "epyc")
	for _, z := range []string{"0", "0/intel-rapl:0:0", "1", "1/intel-rapl:1:0"} {
		if err := os.Chmod(filepath.Join(root, virtual+"intel-rapl:"+z+"/energy_uj"), 0); err != nil {
			t.Fatal(err)
		}
	}
	asNobody(t, root)
	_, err := agenttest.TryOpen(t, Plugin(), nil, root)
	if !errors.Is(err, agent.ErrNotSupported) || !strings.Contains(err.Error(), "CAP_DAC_READ_SEARCH") {
		t.Errorf("open = %v", err)
	}
}

func TestIgnoredZones(t *testing.T) {
	root := tree(t, "laptop")
	agenttest.Update(t, root, []byte(`
-- sys/class/powercap/intel-rapl:2/name --
package-0
-- sys/class/powercap/intel-rapl:2/energy_uj --
5
-- sys/class/powercap/intel-rapl:3/name --
package-0-die-x
-- sys/class/powercap/intel-rapl:0:7/name --
camera
-- sys/class/powercap/intel-rapl:4/name --
core
-- sys/class/powercap/intel-rapl:5/enabled --
1
`))
	p := agenttest.Open(t, Plugin(), nil, root)
	if n := len(p.Meter.Sensors()); n != 4 {
		t.Errorf("%d sensors", n)
	}
	for _, want := range []string{"intel-rapl:2 (a second package-0)", "intel-rapl:3 (package-0-die-x)", "intel-rapl:0:7 (camera)",
		"intel-rapl:4 (core)", "intel-rapl:5 ("} {
		if strings.Count(p.Log.String(), want) != 1 {
			t.Errorf("the log does not tell %q once:\n%s", want, p.Log)
		}
	}
	if strings.Contains(p.Log.String(), "mmio") {
		t.Errorf("log: %s", p.Log)
	}
}

// The nested folders alone, as below devices/virtual, are enough.
func TestNestedFolders(t *testing.T) {
	root := tree(t, "xeon")
	agenttest.Update(t, root, []byte("-- rm sys/class --\n"))
	p := agenttest.Open(t, Plugin(), nil, root)
	if n := len(p.Meter.Sensors()); n != 4 {
		t.Errorf("%d sensors", n)
	}
}

func TestSeveralPlatforms(t *testing.T) {
	root := tree(t, "laptop")
	agenttest.Update(t, root, []byte("-- sys/class/powercap/intel-rapl:2/name --\npsys\n-- sys/class/powercap/intel-rapl:2/energy_uj --\n5\n"))
	p := agenttest.Open(t, Plugin(), nil, root)
	if p.Meter.ByName("rapl:platform") == nil || p.Meter.ByName("rapl:platform:1") == nil {
		t.Errorf("sensors: %v", p.Meter.Sensors())
	}
	p.MustPoll("in")
	set(t, root, map[string]uint64{"1": 10000000})
	agenttest.Set(t, root, "sys/class/powercap/intel-rapl:2/energy_uj", "2000005\n")
	if got := agenttest.Points(p.MustPoll("in")); !strings.Contains(got, "rapl_consumed_energy_J 3 local_machine/ local_machine/ domain=platform\n") {
		t.Errorf("points:\n%s", got)
	}
}

func TestSocketsOfPackages(t *testing.T) {
	const topology = "-- sys/devices/system/cpu/online --\n0-1\n-- sys/devices/system/cpu/cpu0/topology/physical_package_id --\n3\n" +
		"-- sys/devices/system/cpu/cpu1/topology/physical_package_id --\n5\n"
	const zones = "-- sys/class/powercap/intel-rapl:0/name --\npackage-0\n-- sys/class/powercap/intel-rapl:0/energy_uj --\n1\n" +
		"-- sys/class/powercap/intel-rapl:1/name --\npackage-1\n-- sys/class/powercap/intel-rapl:1/energy_uj --\n1\n"
	for name, c := range map[string]struct {
		tree   string
		socket [2]int
		warns  bool
	}{
		"no topology":  {zones, [2]int{0, 1}, true},
		"in order":     {zones + topology, [2]int{3, 5}, true},
		"other number": {zones + "-- sys/devices/system/cpu/online --\n0-1\n", [2]int{-1, -1}, true},
		"as named": {zones + topology + "-- sys/devices/system/cpu/cpu0/topology/physical_package_id --\n1\n" +
			"-- sys/devices/system/cpu/cpu1/topology/physical_package_id --\n0\n", [2]int{0, 1}, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := agenttest.Open(t, Plugin(), nil, agenttest.Tree(t, []byte(c.tree)))
			for i, want := range c.socket {
				s := p.Meter.ByName(fmt.Sprintf("rapl:package:%d", i))
				if s.Socket != want {
					t.Errorf("package %d: socket %d; want %d", i, s.Socket, want)
				}
				// What else is said of the same socket, by tdp-model for example, must be said of the same resource.
				if want >= 0 && s.Resource != agent.CPUPackage(want) || want < 0 && s.Resource != agent.CPUPackage(i) {
					t.Errorf("package %d of socket %d: resource %v", i, want, s.Resource)
				}
			}
			if got := strings.Contains(p.Log.String(), "WARN"); got != c.warns {
				t.Errorf("log: %s", p.Log)
			}
			p.MustPoll("in")
			for i, point := range p.MustPoll("in")[:2] {
				if want := p.Meter.ByName(fmt.Sprintf("rapl:package:%d", i)).Resource; point.Resource != want {
					t.Errorf("point of package %d: resource %v; want %v", i, point.Resource, want)
				}
			}
		})
	}
}

func TestSchedule(t *testing.T) {
	p := agenttest.Open(t, Plugin(), nil, tree(t, "xeon"))
	want := agent.Schedule{Period: time.Second, Flush: 5 * time.Second, Phase: agent.PhaseEnergy}
	if got := p.Schedules["in"]; got != want {
		t.Errorf("schedule %+v", got)
	}
	for _, period := range []config.Duration{0, 1, config.ShortestPoll - 1} {
		if err := (&Config{PollInterval: period}).Validate(); err == nil || !strings.Contains(err.Error(), "poll_interval must be at least 100us") {
			t.Errorf("Validate of %s = %v", period, err)
		}
	}
}

func TestReadme(t *testing.T) { agenttest.CheckReadme(t, Plugin()) }

func TestConfiguration(t *testing.T) {
	c := agenttest.Configure(t, Plugin(), `
[plugins.rapl]
# Interval between two RAPL measurements.
poll_interval = "100ms"
# Interval between two flushing of RAPL measurements.
flush_interval = "5s"
# Set to true to disable perf-events and always use the powercap sysfs.
no_perf_events = true
`).(*Config)
	if c.PollInterval.Std() != 100*time.Millisecond || !c.NoPerfEvents {
		t.Errorf("%+v", c)
	}
}

func TestAllocations(t *testing.T) {
	root := tree(t, "laptop")
	p := agenttest.Open(t, Plugin(), nil, root)
	move := agenttest.Mover(t, root, virtual+"intel-rapl:0/energy_uj")
	v := uint64(5000000)
	p.CheckAllocs("in", func() { v += 1e6; move(v) })
}

func TestEnergyUJ(t *testing.T) {
	for _, c := range []struct {
		uw   uint64
		ns   int64
		want uint64
	}{
		{1e6, 1e9, 1e6}, {500e6, 2e9, 1000e6}, {1, 1, 0}, {1e9, -5, 0}, {math.MaxUint64, math.MaxInt64, math.MaxUint64},
		{math.MaxUint64, 1e9, math.MaxUint64},
	} {
		if got := energyUJ(c.uw, c.ns); got != c.want {
			t.Errorf("energyUJ(%d, %d) = %d; want %d", c.uw, c.ns, got, c.want)
		}
	}
}

func BenchmarkPoll(b *testing.B) {
	data, err := os.ReadFile("testdata/xeon.txtar")
	if err != nil {
		b.Fatal(err)
	}
	p := agenttest.Open(b, Plugin(), nil, agenttest.Tree(b, data))
	src := p.Sources["in"]
	var batch agent.Batch
	b.ReportAllocs()
	for b.Loop() {
		batch.Reset()
		p.Meter.Forget()
		p.Advance(time.Second)
		if err := src.Poll(&batch, p.Now()); err != nil {
			b.Fatal(err)
		}
	}
}
