package tdpmodel

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/agent/agenttest"
	"github.com/alumet-hpc/alumet-hpc/agent/sysfile"
)

func tree(t *testing.T) string {
	t.Helper()
	return agenttest.Tree(t, agenttest.Recording(t, "testdata/vm.txtar"))
}

func TestEstimate(t *testing.T) {
	root := tree(t)
	p := agenttest.Open(t, Plugin(), &Config{TDP: 100, Idle: 20, PollInterval: 1e9}, root)
	if points := p.MustPoll("in"); len(points) > 0 {
		t.Errorf("the first poll gives points:\n%s", agenttest.Points(points))
	}
	agenttest.Update(t, root, agenttest.Recording(t, "testdata/vm-1.txtar"))
	// Package 0: 20 W for a second, and 80 W for the one of its two CPUs that was busy.
	agenttest.CheckPoints(t, p.MustPoll("in"), `
tdp_estimated_energy_J 60 cpu_package/0 local_machine/
tdp_estimated_energy_J 20 cpu_package/1 local_machine/`)
	const want = "tdp:package:0 0 µJ\ntdp:package:1 0 µJ\ntdp:package:0 60000000 µJ\ntdp:package:1 20000000 µJ\n"
	if got := agenttest.Readings(p.Meter.Take()); got != want {
		t.Errorf("readings:\n%s", agenttest.Diff(want, got))
	}
	// An edge moves the counter; the next point has what was before it, too.
	if err := p.Edge("in"); err != nil {
		t.Error(err)
	}
	if got := p.Meter.Take(); got[0].Value != 60020000 {
		t.Errorf("edge: %v", got)
	}
	agenttest.CheckPoints(t, p.MustPoll("in"), `
tdp_estimated_energy_J 20.02 cpu_package/0 local_machine/
tdp_estimated_energy_J 20.02 cpu_package/1 local_machine/`)
}

func TestSensors(t *testing.T) {
	p := agenttest.Open(t, Plugin(), nil, tree(t))
	for i, s := range p.Meter.Sensors() {
		want := agent.Sensor{Name: fmt.Sprintf("tdp:package:%d", i), Resource: agent.CPUPackage(i), Domain: "package", Socket: i,
			Scope: agent.ScopeComponent, Estimated: true, StepNs: 10e6, Root: s.Root}
		if *s != want || !strings.HasPrefix(s.Root, p.Root) {
			t.Errorf("sensor %+v", s)
		}
	}
	if got, want := p.Schedules["in"], (agent.Schedule{Period: time.Second, Flush: 5 * time.Second}); got != want {
		t.Errorf("schedule %+v", got)
	}
}

func TestBackwards(t *testing.T) {
	root := tree(t)
	p := agenttest.Open(t, Plugin(), nil, root)
	p.MustPoll("in")
	agenttest.Set(t, root, "proc/stat", "cpu  1 1 1 1\ncpu0 0 0 0 0 0 0 0 0 0 0\ncpu1 160 0 50 9000 10 0 5 0 0 0\ncpu7 9 9 9 9\n")
	agenttest.CheckPoints(t, p.MustPoll("in"), `
tdp_estimated_energy_J 30 cpu_package/0 local_machine/
tdp_estimated_energy_J 0 cpu_package/1 local_machine/`)
}

func TestReadErrors(t *testing.T) {
	root := tree(t)
	p := agenttest.Open(t, Plugin(), nil, root)
	p.MustPoll("in")
	agenttest.Set(t, root, "proc/stat", "intr 5\n")
	points, err := p.Poll("in")
	if !errors.Is(err, sysfile.ErrSyntax) || len(points) > 0 {
		t.Errorf("Poll = %v, %v", points, err)
	}
	p.Opened.Close()
	if _, err := p.Poll("in"); err == nil {
		t.Error("a closed file was read")
	}
}

// Over any intervals the counter is the exact sum, rounded down once.
func TestNoDrift(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		p := &pkg{idleUW: r.Uint64N(1e10), rangeUW: r.Uint64N(1e10), cpus: 1 + r.Uint64N(1024)}
		exact := new(big.Int)
		for range 100 {
			elapsed := r.Uint64N(1e12)
			p.ticks = r.Uint64N(1 + elapsed/sysfile.TickNs*p.cpus)
			term := new(big.Int).SetUint64(p.idleUW)
			term.Mul(term, new(big.Int).SetUint64(elapsed))
			exact.Add(exact, term.Mul(term, new(big.Int).SetUint64(p.cpus)))
			term = new(big.Int).SetUint64(p.rangeUW)
			exact.Add(exact, term.Mul(term, new(big.Int).SetUint64(p.ticks*sysfile.TickNs)))
			p.add(elapsed)
		}
		exact.Div(exact, new(big.Int).SetUint64(p.cpus*1e9))
		if !exact.IsUint64() || exact.Uint64() != p.uj {
			t.Fatalf("%d µJ; want %d", p.uj, exact)
		}
	}
}

func TestNotNeeded(t *testing.T) {
	// What rapl can measure by makes the model unnecessary, wherever the zone is and whatever its number.
	for _, zone := range []string{"class/powercap/intel-rapl:0", "class/powercap/intel-rapl:1", "devices/virtual/powercap/intel-rapl/intel-rapl:0"} {
		root := tree(t)
		agenttest.Set(t, root, "sys/"+zone+"/name", "package-0\n")
		agenttest.Set(t, root, "sys/"+zone+"/energy_uj", "5\n")
		_, err := agenttest.TryOpen(t, Plugin(), nil, root)
		if !errors.Is(err, agent.ErrNotSupported) || !strings.Contains(err.Error(), "enable the plugin rapl") {
			t.Errorf("%s: open = %v", zone, err)
		}
		c := defaults()
		c.BesideRAPL = true
		agenttest.Open(t, Plugin(), &c, root)
	}
}

// A zone that rapl makes nothing of must not keep the model from standing in.
func TestNeededBesideUnknownZones(t *testing.T) {
	for name, value := range map[string]string{"thing-0": "5\n", "package-0": "x\n"} {
		root := tree(t)
		agenttest.Set(t, root, "sys/class/powercap/intel-rapl:0/name", name+"\n")
		agenttest.Set(t, root, "sys/class/powercap/intel-rapl:0/energy_uj", value)
		agenttest.Open(t, Plugin(), nil, root)
	}
}

func TestNotSupported(t *testing.T) {
	for _, missing := range []string{"sys/devices", "proc/stat"} {
		root := tree(t)
		if err := os.RemoveAll(filepath.Join(root, missing)); err != nil {
			t.Fatal(err)
		}
		if _, err := agenttest.TryOpen(t, Plugin(), nil, root); !errors.Is(err, agent.ErrNotSupported) || !errors.Is(err, os.ErrNotExist) {
			t.Errorf("without %s: %v", missing, err)
		}
	}
}

func TestValidate(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"tdp":           func(c *Config) { c.TDP = 0 },
		"tdp must":      func(c *Config) { c.TDP = math.NaN() },
		"tdp must be":   func(c *Config) { c.TDP = 1e6 },
		"idle":          func(c *Config) { c.Idle = 101 },
		"idle must":     func(c *Config) { c.Idle = -1 },
		"poll_interval": func(c *Config) { c.PollInterval = 0 },
		"poll_interval must be at least 100us, not 1ns": func(c *Config) { c.PollInterval = 1 },
	} {
		c := defaults()
		if err := c.Validate(); err != nil {
			t.Error(err)
		}
		change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("Validate = %v; want an error about %s", err, want)
		}
		if _, err := agenttest.TryOpen(t, Plugin(), &c, tree(t)); err == nil {
			t.Errorf("opened with a wrong %s", want)
		}
	}
}

func TestReadme(t *testing.T) { agenttest.CheckReadme(t, Plugin()) }

func TestConfiguration(t *testing.T) {
	c := agenttest.Configure(t, Plugin(), `
[plugins.tdp-model]
tdp = 65
idle = 12.5
`).(*Config)
	if c.TDP != 65 || c.Idle != 12.5 || c.PollInterval.Std() != time.Second {
		t.Errorf("%+v", c)
	}
}

func TestAllocations(t *testing.T) {
	agenttest.Open(t, Plugin(), nil, tree(t)).CheckAllocs("in", nil)
}

// On the machine of the test the model counts up and stays below its design power.
func TestRealMachine(t *testing.T) {
	p, err := agent.Open(Plugin(), nil, agent.OpenOptions{})
	if errors.Is(err, agent.ErrNotSupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var b agent.Batch
	for range 2 {
		if err := p.Sources["in"].Poll(&b, agent.Clock{}.Now()); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range b.Points {
		if x.Value.Float() < 0 {
			t.Errorf("%s J", x.Value)
		}
	}
}
