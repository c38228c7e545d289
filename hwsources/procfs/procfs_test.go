package procfs

import (
	"bytes"
	"errors"
	"fmt"
	"math"
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
	return agenttest.Tree(t, agenttest.Recording(t, "testdata/node.txtar"))
}

func tick(t *testing.T, root string) {
	t.Helper()
	agenttest.Update(t, root, agenttest.Recording(t, "testdata/node-1.txtar"))
}

func TestKernel(t *testing.T) {
	root := tree(t)
	p := agenttest.Open(t, Plugin(), nil, root)
	agenttest.CheckPoints(t, p.MustPoll("kernel"), `
kernel_n_procs_running 2 local_machine/ local_machine/
kernel_n_procs_blocked 0 local_machine/ local_machine/`)
	tick(t, root)
	points := p.MustPoll("kernel")
	agenttest.CheckPoints(t, points, `
kernel_cpu_time_ms 500 local_machine/ local_machine/ cpu_state=user
kernel_cpu_time_ms 100 local_machine/ local_machine/ cpu_state=nice
kernel_cpu_time_ms 200 local_machine/ local_machine/ cpu_state=system
kernel_cpu_time_ms 930 local_machine/ local_machine/ cpu_state=idle
kernel_cpu_time_ms 50 local_machine/ local_machine/ cpu_state=irq
kernel_cpu_time_ms 50 local_machine/ local_machine/ cpu_state=softirq
kernel_cpu_time_ms 100 local_machine/ local_machine/ cpu_state=steal
kernel_cpu_time_ms 100 local_machine/ local_machine/ cpu_state=guest
kernel_cpu_time_ms 0 local_machine/ local_machine/ cpu_state=guest_nice
kernel_cpu_time_ms 500 cpu_core/0 local_machine/ cpu_state=user
kernel_cpu_time_ms 100 cpu_core/0 local_machine/ cpu_state=nice
kernel_cpu_time_ms 200 cpu_core/0 local_machine/ cpu_state=system
kernel_cpu_time_ms 1000 cpu_core/0 local_machine/ cpu_state=idle
kernel_cpu_time_ms 50 cpu_core/0 local_machine/ cpu_state=irq
kernel_cpu_time_ms 50 cpu_core/0 local_machine/ cpu_state=softirq
kernel_cpu_time_ms 100 cpu_core/0 local_machine/ cpu_state=steal
kernel_cpu_time_ms 100 cpu_core/0 local_machine/ cpu_state=guest
kernel_cpu_time_ms 0 cpu_core/0 local_machine/ cpu_state=guest_nice
kernel_cpu_time_ms 0 cpu_core/2 local_machine/ cpu_state=user
kernel_cpu_time_ms 0 cpu_core/2 local_machine/ cpu_state=nice
kernel_cpu_time_ms 0 cpu_core/2 local_machine/ cpu_state=system
kernel_cpu_time_ms 0 cpu_core/2 local_machine/ cpu_state=irq
kernel_cpu_time_ms 0 cpu_core/2 local_machine/ cpu_state=softirq
kernel_cpu_time_ms 0 cpu_core/2 local_machine/ cpu_state=steal
kernel_cpu_time_ms 0 cpu_core/2 local_machine/ cpu_state=guest
kernel_cpu_time_ms 0 cpu_core/2 local_machine/ cpu_state=guest_nice
kernel_context_switches 120 local_machine/ local_machine/
kernel_new_forks 2 local_machine/ local_machine/
kernel_n_procs_running 5 local_machine/ local_machine/
kernel_n_procs_blocked 1 local_machine/ local_machine/`)
	if points[0].Time != p.Now().Wall {
		t.Errorf("time %d", points[0].Time)
	}
	agenttest.Set(t, root, "proc/stat", "ctxt x\nprocs_running\n")
	if points, err := p.Poll("kernel"); !errors.Is(err, sysfile.ErrSyntax) || len(points) > 0 {
		t.Errorf("Poll = %v, %v", points, err)
	}
}

func TestMemory(t *testing.T) {
	c := defaults()
	c.Memory.Metrics = append(c.Memory.Metrics, "HugePages_Total", "Active(anon)", "NoSuchThing", "MemTotal")
	root := tree(t)
	p := agenttest.Open(t, Plugin(), &c, root)
	agenttest.CheckPoints(t, p.MustPoll("memory"), `
mem_total_B 25276518400 local_machine/ local_machine/
mem_free_B 24426508288 local_machine/ local_machine/
mem_available_B 24846565376 local_machine/ local_machine/
cached_B 571437056 local_machine/ local_machine/
swap_cached_B 0 local_machine/ local_machine/
active_B 468897792 local_machine/ local_machine/
inactive_B 117792768 local_machine/ local_machine/
mapped_B 17276928 local_machine/ local_machine/
hugepages_total 3 local_machine/ local_machine/
active(anon)_B 1679360 local_machine/ local_machine/`)
	if !strings.Contains(p.Log.String(), "NoSuchThing") {
		t.Errorf("log: %s", p.Log)
	}
	agenttest.Set(t, root, "proc/meminfo", "MemFree: 1 kB\n")
	points, err := p.Poll("memory")
	if !errors.Is(err, sysfile.ErrSyntax) || len(points) != 1 {
		t.Errorf("Poll = %v, %v", points, err)
	}
}

func TestSnakeCase(t *testing.T) {
	for in, want := range map[string]string{
		"MemTotal": "mem_total", "Committed_AS": "committed_as", "HugePages_Total": "hugepages_total", "SReclaimable": "s_reclaimable",
		"Active(anon)": "active(anon)", "DirectMap4k": "direct_map4k", "Hugepagesize": "hugepagesize", "A": "a", "": "",
	} {
		if got := snakeCase(in); got != want {
			t.Errorf("snakeCase(%q) = %q; want %q", in, got, want)
		}
	}
}

func TestNetwork(t *testing.T) {
	root := tree(t)
	p := agenttest.Open(t, Plugin(), nil, root)
	if points := p.MustPoll("network"); len(points) > 0 {
		t.Errorf("the first poll gives points:\n%s", agenttest.Points(points))
	}
	tick(t, root)
	agenttest.CheckPoints(t, p.MustPoll("network"), `
network_bytes_B 500 local_machine/ local_machine/ interface=lo direction=rx
network_packets 5 local_machine/ local_machine/ interface=lo direction=rx
network_errors 0 local_machine/ local_machine/ interface=lo direction=rx
network_packet_drops 0 local_machine/ local_machine/ interface=lo direction=rx
network_bytes_B 500 local_machine/ local_machine/ interface=lo direction=tx
network_packets 5 local_machine/ local_machine/ interface=lo direction=tx
network_errors 0 local_machine/ local_machine/ interface=lo direction=tx
network_packet_drops 0 local_machine/ local_machine/ interface=lo direction=tx
network_errors 0 local_machine/ local_machine/ interface=eth0 direction=tx
network_packet_drops 1 local_machine/ local_machine/ interface=eth0 direction=tx
network_bytes_B 700 local_machine/ local_machine/ interface=veth1 direction=rx
network_packets 7 local_machine/ local_machine/ interface=veth1 direction=rx
network_errors 0 local_machine/ local_machine/ interface=veth1 direction=rx
network_packet_drops 0 local_machine/ local_machine/ interface=veth1 direction=rx
network_bytes_B 0 local_machine/ local_machine/ interface=veth1 direction=tx
network_packets 0 local_machine/ local_machine/ interface=veth1 direction=tx
network_errors 0 local_machine/ local_machine/ interface=veth1 direction=tx
network_packet_drops 0 local_machine/ local_machine/ interface=veth1 direction=tx`)
	src := p.Sources["network"].(*network)
	agenttest.Set(t, root, "proc/net/dev", " eth0: 1 1 1 1 0 0 0 0 1 1 1 1 0 0 0 0\n")
	p.MustPoll("network")
	if len(src.list) != 1 || len(src.byName) != 1 {
		t.Errorf("%d interfaces are remembered", len(src.list))
	}
	agenttest.Set(t, root, "proc/net/dev", "")
	if _, err := p.Poll("network"); !errors.Is(err, sysfile.ErrSyntax) {
		t.Errorf("Poll of an empty file = %v", err)
	}
}

func processesOf(t *testing.T, root string, groups ...GroupConfig) *agenttest.Probe {
	t.Helper()
	c := defaults()
	c.Processes.Groups = groups
	return agenttest.Open(t, Plugin(), &c, root)
}

const memoryOf42 = `memory_usage_B 3133440 local_machine/ process/42 kind=virtual
memory_usage_B 1818624 local_machine/ process/42 kind=resident
memory_usage_B 1703936 local_machine/ process/42 kind=shared
`

func skipOtherPages(t *testing.T) {
	t.Helper()
	if os.Getpagesize() != 4096 {
		t.Skip("the expected memory is that of 4 KiB pages")
	}
}

func TestProcesses(t *testing.T) {
	skipOtherPages(t)
	root := tree(t)
	p := processesOf(t, root, GroupConfig{ExeRegex: "^/opt/", MemoryMode: memorySlow}, GroupConfig{})
	p.MustPoll("process-watcher")
	// What the processes used before the agent came does not count.
	agenttest.CheckPoints(t, p.MustPoll("group-0"), `
cpu_time_delta_ns 0 local_machine/ process/42 kind=user
cpu_time_delta_ns 0 local_machine/ process/42 kind=system
cpu_time_delta_ns 0 local_machine/ process/42 kind=guest
`+memoryOf42+`memory_usage_B 352256 local_machine/ process/42 kind=proportional`)
	if got := agenttest.Points(p.MustPoll("group-1")); !strings.Contains(got, "process/43") || !strings.Contains(got, "process/44") || strings.Contains(got, "process/42") {
		t.Errorf("group-1:\n%s", got)
	}
	tick(t, root)
	p.MustPoll("process-watcher")
	agenttest.CheckPoints(t, p.MustPoll("group-0")[:3], `
cpu_time_delta_ns 700000000 local_machine/ process/42 kind=user
cpu_time_delta_ns 300000000 local_machine/ process/42 kind=system
cpu_time_delta_ns 300000000 local_machine/ process/42 kind=guest`)
}

func TestProcessesComeAndGo(t *testing.T) {
	skipOtherPages(t)
	root := tree(t)
	ppid := 42
	p := processesOf(t, root, GroupConfig{PPid: &ppid, ExeRegex: "helper"})
	p.MustPoll("process-watcher")
	if points := p.MustPoll("group-0"); len(points) > 0 {
		t.Errorf("points:\n%s", agenttest.Points(points))
	}
	// 44 executes the helper: it is taken now, without what it used before. 45 is new, all of it counts.
	tick(t, root)
	future := uint64(agent.BootNs()/sysfile.TickNs) + 1000
	agenttest.Update(t, root, []byte(fmt.Sprintf(`
-- proc/45/stat --
45 (a) b) R 42 0 0 0 0 0 0 0 0 0 7 3 0 0 0 0 0 0 %d 0
-- proc/45/statm --
1 1 1
-- proc/45/exe -> /opt/helper --
-- proc/46/stat --
46 (broken
-- proc/47/ --
`, future)))
	p.MustPoll("process-watcher")
	got := agenttest.Points(p.MustPoll("group-0"))
	for _, want := range []string{
		"cpu_time_delta_ns 0 local_machine/ process/44 kind=user", "cpu_time_delta_ns 70000000 local_machine/ process/45 kind=user",
		"cpu_time_delta_ns 30000000 local_machine/ process/45 kind=system", "memory_usage_B 4096 local_machine/ process/45 kind=shared",
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	// 44 ends, and another process has the number 45.
	agenttest.Update(t, root, []byte(fmt.Sprintf("-- rm proc/44 --\n-- proc/45/stat --\n45 (c) R 42 0 0 0 0 0 0 0 0 0 9 9 0 0 0 0 0 0 %d 0\n", future+5)))
	if points := p.MustPoll("group-0"); len(points) > 0 {
		t.Errorf("points:\n%s", agenttest.Points(points))
	}
	w := p.Sources["process-watcher"].(*watcher)
	if len(w.known) > 0 || len(w.groups[0].list) > 0 {
		t.Errorf("%d processes are remembered", len(w.known))
	}
	p.MustPoll("process-watcher")
	if got := agenttest.Points(p.MustPoll("group-0")); !strings.HasPrefix(got, "cpu_time_delta_ns 90000000 local_machine/ process/45 kind=user\n") {
		t.Errorf("points:\n%s", got)
	}
	agenttest.Set(t, root, "proc/45/statm", "x\n")
	if _, err := p.Poll("group-0"); !errors.Is(err, sysfile.ErrSyntax) || !strings.Contains(err.Error(), "process 45") {
		t.Errorf("Poll = %v", err)
	}
}

func TestPidFilter(t *testing.T) {
	pid := 43
	p := processesOf(t, tree(t), GroupConfig{Pid: &pid, MemoryMode: memorySlow})
	p.MustPoll("process-watcher")
	for _, x := range p.MustPoll("group-0") {
		if x.Consumer != agent.Process(43) {
			t.Errorf("point of %v", x.Consumer)
		}
	}
}

// The test measures itself on the real /proc.
func TestRealProcesses(t *testing.T) {
	pid := os.Getpid()
	c := defaults()
	c.Processes.Groups = []GroupConfig{{Pid: &pid, MemoryMode: memorySlow}}
	p, err := agent.Open(Plugin(), &c, agent.OpenOptions{})
	if err != nil {
		t.Skip(err)
	}
	defer p.Close()
	var b agent.Batch
	for range 2 {
		for _, name := range []string{"process-watcher", "group-0", "kernel", "memory", "network"} {
			if src := p.Sources[name]; src == nil {
				t.Logf("no source %s", name)
			} else if err := src.Poll(&b, agent.Clock{}.Now()); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	seen := map[string]bool{}
	for _, x := range b.Points {
		seen[x.Metric.Name] = true
		if x.Metric.Name == "memory_usage" && x.Value.Uint() == 0 && x.Attrs.List()[0].Value.Text() == "resident" {
			t.Error("the test has no memory")
		}
	}
	for _, m := range []string{"cpu_time_delta", "memory_usage", "kernel_cpu_time", "mem_total"} {
		if !seen[m] {
			t.Errorf("no point of %s", m)
		}
	}
}

func TestAllocations(t *testing.T) {
	root := tree(t)
	p := processesOf(t, root, GroupConfig{MemoryMode: memorySlow})
	p.MustPoll("process-watcher")
	for _, name := range []string{"kernel", "memory", "network", "process-watcher", "group-0"} {
		p.CheckAllocs(name, nil)
	}
}

func TestSections(t *testing.T) {
	c := defaults()
	c.Kernel.Enabled, c.Memory.Enabled, c.Network.Enabled, c.Processes.Enabled = false, false, false, false
	p := agenttest.Open(t, Plugin(), &c, t.TempDir())
	if len(p.Sources) != 0 {
		t.Errorf("sources: %v", p.Sources)
	}
	p = agenttest.Open(t, Plugin(), nil, tree(t))
	for name, want := range map[string]agent.Schedule{
		"kernel":          {Period: 5 * time.Second, Phase: agent.PhaseUsage},
		"memory":          {Period: 5 * time.Second, Phase: agent.PhaseUsage},
		"network":         {Period: 5 * time.Second, Phase: agent.PhaseUsage},
		"process-watcher": {Period: 2 * time.Second, Phase: agent.PhaseUsage, Lane: "processes"},
		"group-0":         {Period: 2 * time.Second, Flush: 4 * time.Second, Phase: agent.PhaseUsage, Lane: "processes"},
	} {
		if got := p.Schedules[name]; got != want {
			t.Errorf("%s: %+v; want %+v", name, got, want)
		}
	}
	c = defaults()
	c.Processes.Strategy = strategyEvent
	p = agenttest.Open(t, Plugin(), &c, tree(t))
	if len(p.Sources) != 3 || !strings.Contains(p.Log.String(), "no process is measured") {
		t.Errorf("sources: %v; log: %s", p.Sources, p.Log)
	}
}

func TestNotSupported(t *testing.T) {
	for _, missing := range []string{"stat", "meminfo"} {
		root := tree(t)
		if err := os.Remove(filepath.Join(root, "proc", missing)); err != nil {
			t.Fatal(err)
		}
		if _, err := agenttest.TryOpen(t, Plugin(), nil, root); !errors.Is(err, agent.ErrNotSupported) || !strings.Contains(err.Error(), missing) {
			t.Errorf("without %s: %v", missing, err)
		}
	}
	root := tree(t)
	if err := os.RemoveAll(filepath.Join(root, "proc/net")); err != nil {
		t.Fatal(err)
	}
	if p := agenttest.Open(t, Plugin(), nil, root); p.Sources["network"] != nil || !strings.Contains(p.Log.String(), "net/dev") {
		t.Errorf("log: %s", p.Log)
	}
}

func TestReadme(t *testing.T) { agenttest.CheckReadme(t, Plugin()) }

func TestConfiguration(t *testing.T) {
	c := agenttest.Configure(t, Plugin(), `
[plugins.procfs.kernel]
enabled = false
poll_interval = "3s"
[plugins.procfs.memory]
enabled = true
poll_interval = "5s"
metrics = [
    "MemTotal",
    "Mapped",
]
[plugins.procfs.processes]
enabled = true
refresh_interval = "2s"
strategy = "watcher"
[[plugins.procfs.processes.groups]]
# Only monitor the processes whose executable path matches this regex.
exe_regex = ""
poll_interval = "2s"
flush_interval = "4s"
[[plugins.procfs.processes.groups]]
pid = 1
`).(*Config)
	if c.Kernel.Enabled || len(c.Memory.Metrics) != 2 || len(c.Processes.Groups) != 2 || *c.Processes.Groups[1].Pid != 1 || !c.Network.Enabled {
		t.Errorf("%+v", c)
	}
	agenttest.Open(t, Plugin(), c, tree(t))
}

func TestValidate(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"kernel.poll_interval":                                 func(c *Config) { c.Kernel.PollInterval = 0 },
		"memory.poll_interval must be at least 100us, not 1ns": func(c *Config) { c.Memory.PollInterval = 1 },
		"processes.groups poll_interval must be at least":      func(c *Config) { c.Processes.Groups[0].PollInterval = 99_999 },
		"processes.refresh_interval":                           func(c *Config) { c.Processes.Refresh = 0 },
		"processes.strategy":                                   func(c *Config) { c.Processes.Strategy = "x" },
		"processes.events.memory_mode":                         func(c *Config) { c.Processes.Events.MemoryMode = "x" },
		"processes.groups memory_mode":                         func(c *Config) { c.Processes.Groups[0].MemoryMode = "x" },
		"processes.groups exe_regex":                           func(c *Config) { c.Processes.Groups[0].ExeRegex = "(" },
		"processes.events.poll_interval":                       func(c *Config) { c.Processes.Events.PollInterval = 0 },
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

func FuzzProcessStat(f *testing.F) {
	f.Add([]byte("42 (a) b) R 1 0 0 0 0 0 0 0 0 0 7 3 0 0 0 0 0 0 99 0"))
	f.Add([]byte("1 (x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, ok := parseProcessStat(b); ok && bytes.IndexByte(b, ')') < 0 {
			t.Errorf("%q is read as %+v", b, s)
		}
	})
}

func FuzzInterface(f *testing.F) {
	f.Add([]byte("  eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16"))
	f.Add([]byte("eth0:1"))
	f.Fuzz(func(t *testing.T, line []byte) {
		if name, _, ok := parseInterface(line); ok && (len(name) == 0 || !bytes.Contains(line, name)) {
			t.Errorf("%q: name %q", line, name)
		}
	})
}

func FuzzEntries(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x18\x00\x0442\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for rest := b; len(rest) > 0; {
			var name []byte
			before := len(rest)
			if name, rest = cutEntry(rest); name == nil {
				break
			}
			if len(rest) >= before || len(name) > math.MaxUint16 {
				t.Fatalf("%q does not end", b)
			}
		}
	})
}

func FuzzSnakeCase(f *testing.F) {
	f.Add("MemTotal")
	f.Add("Active(anon)")
	f.Fuzz(func(t *testing.T, s string) { snakeCase(s) })
}

func BenchmarkScan(b *testing.B) {
	c := defaults()
	p, err := agent.Open(Plugin(), &c, agent.OpenOptions{})
	if err != nil {
		b.Skip(err)
	}
	defer p.Close()
	var batch agent.Batch
	b.ReportAllocs()
	for b.Loop() {
		batch.Reset()
		if err := p.Sources["process-watcher"].Poll(&batch, agent.Instant{}); err != nil {
			b.Fatal(err)
		}
		if err := p.Sources["group-0"].Poll(&batch, agent.Instant{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(batch.Points))/6, "processes")
}
