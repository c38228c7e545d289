package agenttest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alumet-hpc/alumet-hpc/agent"
)

const machine = `a machine
-- sys/class/x -> ../devices/x --
-- sys/devices/x/energy --
12
-- proc/empty/ --
`

func TestTree(t *testing.T) {
	root := Tree(t, []byte(machine))
	path := filepath.Join(root, "sys/class/x/energy")
	kept, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	check := func(want string) {
		t.Helper()
		var buf [64]byte
		n, _ := kept.ReadAt(buf[:], 0)
		if got := string(buf[:n]); got != want {
			t.Errorf("the kept file reads %q; want %q", got, want)
		}
	}
	check("12\n")
	Update(t, root, []byte("-- sys/devices/x/energy --\n7\n"))
	check("7\n")
	Set(t, root, "sys/devices/x/energy", "8\n")
	check("8\n")
	move := Mover(t, root, "sys/devices/x/energy")
	move(1234)
	move(99)
	check("00000000000000000099\n")
	if s, err := os.Stat(filepath.Join(root, "proc/empty")); err != nil || !s.IsDir() {
		t.Errorf("proc/empty: %v", err)
	}
	Update(t, root, []byte("-- rm sys/devices --\n"))
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("removed file: %v", err)
	}
}

type source struct {
	m     *agent.Metric
	s     *agent.Sensor
	setup *agent.Setup
}

func (s *source) Poll(b *agent.Batch, now agent.Instant) error {
	b.Add(s.m, now.Wall, agent.U64(3), agent.CPUPackage(1), agent.NoConsumer(), nil)
	return s.Edge(now)
}

func (s *source) Edge(now agent.Instant) error {
	s.setup.Meter.Reading(s.s, now.Boot, 5)
	s.setup.Meter.Power(s.s, now.Boot, 6)
	return nil
}

func plugin() agent.Plugin {
	return agent.Define("x", "Tests.", func() int { return 4 }, func(s *agent.Setup, n int) error {
		if n == 0 {
			return agent.ErrNotSupported
		}
		src := &source{setup: s, s: &agent.Sensor{Name: "x:0"}}
		src.m = s.Metric(agent.Metric{Name: "watt", Unit: agent.Unit{Base: agent.Watt}})
		s.Log.Info("opened", "n", n, "sys", filepath.Base(s.Sys))
		s.Source("in", agent.Schedule{Period: time.Second}, src)
		return s.Meter.Sensor(src.s)
	})
}

func TestProbe(t *testing.T) {
	p := Open(t, plugin(), nil, t.TempDir())
	CheckPoints(t, p.MustPoll("in"), "watt_W 3 cpu_package/1 local_machine/")
	if err := p.Edge("in"); err != nil {
		t.Error(err)
	}
	got := p.Meter.Take()
	if want := "x:0 5 µJ\nx:0 6 µW\nx:0 5 µJ\nx:0 6 µW\n"; Readings(got) != want {
		t.Errorf("readings:\n%s", Diff(want, Readings(got)))
	}
	if got[0].T != 2e9 || got[2].T != 2001e6 {
		t.Errorf("times %d, %d", got[0].T, got[2].T)
	}
	if want := "level=INFO msg=opened n=4 sys=sys\n"; p.Log.String() != want {
		t.Errorf("log %q", p.Log)
	}
	p.CheckAllocs("in", nil)
	if p.Meter.ByName("x:0") == nil || p.Meter.ByName("y") != nil || p.Schedules["in"].Period != time.Second {
		t.Error("sensors or schedules are wrong")
	}
	n := 0
	if probe, err := TryOpen(t, plugin(), &n, t.TempDir()); !errors.Is(err, agent.ErrNotSupported) || probe == nil {
		t.Errorf("TryOpen = %v", err)
	}
}

func TestMeterRefuses(t *testing.T) {
	var m Meter
	s := &agent.Sensor{Name: "a"}
	if err := m.Sensor(s); err != nil {
		t.Error(err)
	}
	if err := m.Sensor(&agent.Sensor{Name: "a"}); err == nil {
		t.Error("a name was registered twice")
	}
	m.Reading(&agent.Sensor{Name: "b"}, 1, 1)
	if u := m.Unknown(); len(u) != 1 || u[0] != "b" {
		t.Errorf("Unknown = %q", u)
	}
}

func TestDiff(t *testing.T) {
	if d := Diff("a\nb", "a\nc\nd"); !strings.Contains(d, `line 2: want "b"`) || !strings.Contains(d, "(end)") {
		t.Error(d)
	}
	if d := Diff("a", "a"); d != "" {
		t.Error(d)
	}
}
