package tdpmodel

import (
	"errors"
	"fmt"
	"math/bits"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/agent/sysfile"
)

// source estimates all packages from one reading of /proc/stat.
type source struct {
	metric   *agent.Metric
	meter    agent.Metering
	stat     *sysfile.File
	packages []*pkg
	cpus     []busy // by the numbers of the CPUs
	last     int64  // ledger time of the previous reading in ns
	started  bool
	buf      []byte
}

// busy is the counter of a CPU's busy time; owner is nil for a CPU of no package.
type busy struct {
	owner   *pkg
	counter sysfile.Counter
}

// pkg is one package and its estimated counter.
type pkg struct {
	idleUW, rangeUW uint64 // power when idle, and how much more when busy, in µW
	cpus            uint64
	resource        agent.Resource
	sensor          *agent.Sensor

	ticks uint64 // busy time of the package's CPUs since the previous reading
	uj    uint64 // the counter
	rest  uint64 // what is left of the division below one µJ
	shown uint64 // the counter at the previous point
}

// Poll implements [agent.Source]. The first call gives no point.
func (s *source) Poll(b *agent.Batch, now agent.Instant) error {
	first := !s.started
	if err := s.Edge(now); err != nil {
		return err
	}
	for _, p := range s.packages {
		if !first {
			b.Add(s.metric, now.Wall, agent.F64(float64(p.uj-p.shown)/1e6), p.resource, agent.NoConsumer(), nil)
		}
		p.shown = p.uj
	}
	return nil
}

// Edge implements [agent.Edger].
func (s *source) Edge(now agent.Instant) error {
	data, err := s.stat.ReadGrow(&s.buf)
	if err != nil {
		if errors.Is(err, agent.ErrGone) {
			// There is a /proc/stat as long as there is a kernel: the source must not end.
			return fmt.Errorf("read %s: it is gone", s.stat.Path())
		}
		return err
	}
	if err := s.count(data); err != nil {
		return err
	}
	elapsed := uint64(max(now.Boot-s.last, 0))
	if !s.started {
		elapsed = 0
	}
	s.last, s.started = now.Boot, true
	for _, p := range s.packages {
		p.add(elapsed)
		s.meter.Reading(p.sensor, now.Boot, p.uj)
	}
	return nil
}

// count adds up the busy time of the packages' CPUs. A CPU whose time went backwards counts nothing for this interval.
func (s *source) count(data []byte) error {
	var t sysfile.CPUTime
	found := false
	for len(data) > 0 {
		var line []byte
		line, data = sysfile.CutLine(data)
		n, ok := sysfile.ParseCPULine(line, &t)
		if !ok {
			break // the CPUs come first
		}
		if n < 0 || n >= len(s.cpus) || s.cpus[n].owner == nil {
			continue
		}
		found = true
		d, _ := s.cpus[n].counter.Delta(t.Busy())
		s.cpus[n].owner.ticks += d
	}
	if !found {
		return fmt.Errorf("read %s: %w: there is no line of a CPU", s.stat.Path(), sysfile.ErrSyntax)
	}
	return nil
}

// add adds the energy of an interval:
//
//	idle · elapsed + (tdp − idle) · busy / cpus
//
// in whole µJ. What the division leaves is carried on, so that nothing is lost over any number of intervals. The sum is made
// in 128 bits of µW · ns, each multiplied by the number of CPUs.
func (p *pkg) add(elapsed uint64) {
	hi, lo := bits.Mul64(p.idleUW, elapsed*p.cpus)
	busyHi, busyLo := bits.Mul64(p.rangeUW, p.ticks*sysfile.TickNs)
	p.ticks = 0
	lo, carry := bits.Add64(lo, busyLo, 0)
	hi += busyHi + carry
	lo, carry = bits.Add64(lo, p.rest, 0)
	hi += carry
	unit := p.cpus * 1e9
	// The quotient fits as long as an interval is shorter than a year.
	if hi >= unit {
		return
	}
	uj, rest := bits.Div64(hi, lo, unit)
	p.uj += uj
	p.rest = rest
}
