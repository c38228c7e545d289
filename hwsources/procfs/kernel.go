package procfs

import (
	"fmt"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/agent/sysfile"
)

// states are the CPU states that are measured. The time of waiting for input and output is not: the kernel's manual calls it
// unreliable. It is never changed.
var states = [...]struct {
	name  string
	index int
}{
	{"user", sysfile.User}, {"nice", sysfile.Nice}, {"system", sysfile.System}, {"idle", sysfile.Idle}, {"irq", sysfile.IRQ},
	{"softirq", sysfile.SoftIRQ}, {"steal", sysfile.Steal}, {"guest", sysfile.Guest}, {"guest_nice", sysfile.GuestNice},
}

// tickMs is the unit of CPU times in milliseconds.
const tickMs = sysfile.TickNs / 1e6

// cpuCounters are the counters of one CPU, or of all together.
type cpuCounters struct {
	resource agent.Resource
	states   [len(states)]sysfile.Counter
}

// kernel is the source of /proc/stat.
type kernel struct {
	file *sysfile.File
	buf  []byte

	cpuTime, switches, forks, running, blocked *agent.Metric

	attrs             [len(states)]*agent.Attrs
	all               cpuCounters
	cpus              []*cpuCounters // by the numbers of the CPUs; nil for one that was not seen yet
	switched, started sysfile.Counter
}

func newKernel(s *agent.Setup, f *sysfile.File) *kernel {
	k := &kernel{file: f, all: cpuCounters{resource: agent.LocalMachine()}}
	k.cpuTime = s.Metric(agent.Metric{Name: "kernel_cpu_time", Description: "Time that the CPU has spent in a state",
		Unit: agent.Unit{Prefix: agent.Milli, Base: agent.Second}, Attributes: []string{"cpu_state"}})
	plain := func(name, description string) *agent.Metric {
		return s.Metric(agent.Metric{Name: name, Description: description})
	}
	k.switches = plain("kernel_context_switches", "Number of context switches")
	k.forks = plain("kernel_new_forks", "Number of fork operations")
	k.running = plain("kernel_n_procs_running", "Number of processes in a runnable state")
	k.blocked = plain("kernel_n_procs_blocked", "Number of processes that are blocked on input/output operations")
	for i, st := range states {
		k.attrs[i] = agent.NewAttrs(agent.Attr{Key: "cpu_state", Value: agent.AttrText(st.name)})
	}
	return k
}

// Poll implements [agent.Source].
func (k *kernel) Poll(b *agent.Batch, now agent.Instant) error {
	data, err := k.file.ReadGrow(&k.buf)
	if err != nil {
		return stays(k.file, err)
	}
	var t sysfile.CPUTime
	found := false
	for len(data) > 0 {
		var line []byte
		line, data = sysfile.CutLine(data)
		if cpu, ok := sysfile.ParseCPULine(line, &t); ok {
			found = true
			k.pushCPU(b, now.Wall, k.countersOf(cpu), &t)
			continue
		}
		key, rest := sysfile.CutField(line)
		switch string(key) {
		case "ctxt":
			pushDelta(b, k.switches, now.Wall, &k.switched, rest)
		case "processes":
			pushDelta(b, k.forks, now.Wall, &k.started, rest)
		case "procs_running":
			pushValue(b, k.running, now.Wall, rest)
		case "procs_blocked":
			pushValue(b, k.blocked, now.Wall, rest)
		}
	}
	if !found {
		return fmt.Errorf("read %s: %w: there is no line of a CPU", k.file.Path(), sysfile.ErrSyntax)
	}
	return nil
}

// countersOf finds the counters of a CPU by its number, which stays the same when other CPUs go offline; -1: all together.
func (k *kernel) countersOf(cpu int) *cpuCounters {
	if cpu < 0 {
		return &k.all
	}
	for len(k.cpus) <= cpu {
		k.cpus = append(k.cpus, nil)
	}
	if k.cpus[cpu] == nil {
		k.cpus[cpu] = &cpuCounters{resource: agent.CPUCore(cpu)}
	}
	return k.cpus[cpu]
}

func (k *kernel) pushCPU(b *agent.Batch, wall int64, c *cpuCounters, t *sysfile.CPUTime) {
	for i, st := range states {
		if d, ok := c.states[i].Delta(t[st.index]); ok {
			b.Add(k.cpuTime, wall, agent.U64(d*tickMs), c.resource, agent.NoConsumer(), k.attrs[i])
		}
	}
}

func pushDelta(b *agent.Batch, m *agent.Metric, wall int64, c *sysfile.Counter, text []byte) {
	v, _, ok := sysfile.CutUint(text)
	if !ok {
		return
	}
	if d, ok := c.Delta(v); ok {
		b.Add(m, wall, agent.U64(d), agent.LocalMachine(), agent.NoConsumer(), nil)
	}
}

func pushValue(b *agent.Batch, m *agent.Metric, wall int64, text []byte) {
	if v, _, ok := sysfile.CutUint(text); ok {
		b.Add(m, wall, agent.U64(v), agent.LocalMachine(), agent.NoConsumer(), nil)
	}
}
