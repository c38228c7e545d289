package rapl

import (
	"errors"
	"fmt"
	"math"
	"math/bits"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/agent/sysfile"
)

// bufSize holds the largest number and its newline.
const bufSize = 32

// source reads all zones.
type source struct {
	metric *agent.Metric
	meter  agent.Metering
	zones  []*zone
	series []*series
	totals []*series
	buf    [bufSize]byte
}

// series is one series of points: a domain of a package, which is the sum of its dies' zones, or the total of a domain,
// which is the sum of its packages.
//
// A sum is only given when all its parts are there. What the others counted meanwhile waits in pending, so that a zone that
// cannot be read for a while delays the sum instead of making it too small.
type series struct {
	resource agent.Resource
	attrs    *agent.Attrs
	zones    []*zone
	parts    []*series
	pending  uint64
	missing  bool
	domain   int
}

func newSource(s *agent.Setup, zones []*zone) *source {
	src := &source{meter: s.Meter, zones: zones}
	src.metric = s.Metric(agent.Metric{
		Name: "rapl_consumed_energy", Description: "Energy consumed since the previous measurement", Type: agent.TypeF64,
		Unit: agent.Unit{Base: agent.Joule}, Attributes: []string{"domain"},
	})
	for i, d := range domains {
		total := &series{resource: agent.LocalMachine(), attrs: domainAttrs(d.name + "_total"), domain: i}
		for _, z := range zones {
			if z.domain == i {
				total.partOf(z, d).zones = append(total.partOf(z, d).zones, z)
			}
		}
		if len(total.parts) > 0 {
			src.series = append(src.series, total.parts...)
			src.totals = append(src.totals, total)
		}
	}
	return src
}

func domainAttrs(name string) *agent.Attrs {
	return agent.NewAttrs(agent.Attr{Key: "domain", Value: agent.AttrText(name)})
}

// partOf finds the series that a zone belongs to, or adds it.
func (t *series) partOf(z *zone, d domain) *series {
	r := z.resource()
	for _, p := range t.parts {
		if p.resource == r {
			return p
		}
	}
	p := &series{resource: r, attrs: domainAttrs(d.name), domain: t.domain}
	t.parts = append(t.parts, p)
	return p
}

// Poll implements [agent.Source]. A zone that cannot be read is named by the error; the others are measured nevertheless.
func (s *source) Poll(b *agent.Batch, now agent.Instant) error {
	err := s.read(now, true)
	for _, p := range s.series {
		if !p.missing {
			b.Add(s.metric, now.Wall, agent.F64(float64(p.pending)/1e6), p.resource, agent.NoConsumer(), p.attrs)
		}
	}
	for _, t := range s.totals {
		t.missing = false
		for _, p := range t.parts {
			if p.missing {
				t.missing = true
				continue
			}
			t.pending += p.pending
			p.pending = 0
		}
		if !t.missing {
			b.Add(s.metric, now.Wall, agent.F64(float64(t.pending)/1e6), t.resource, agent.NoConsumer(), t.attrs)
			t.pending = 0
		}
	}
	return err
}

// Edge implements [agent.Edger].
func (s *source) Edge(now agent.Instant) error { return s.read(now, false) }

// read reads all zones and tells the meter. With counting, it also adds what they counted to the series.
func (s *source) read(now agent.Instant, counting bool) error {
	failed := 0
	var first error
	for _, p := range s.series {
		if counting {
			p.missing = false
		}
		for _, z := range p.zones {
			v, err := z.read(s.buf[:])
			if err != nil {
				if failed++; first == nil {
					first = err
				}
				p.missing = p.missing || counting
				continue
			}
			s.meter.Reading(z.sensor, now.Boot, v)
			if !counting {
				continue
			}
			d, ok := z.count(v, now.Boot)
			p.pending += d
			p.missing = p.missing || !ok
		}
	}
	if failed > 1 {
		return fmt.Errorf("%w (and %d more of %d zones)", first, failed-1, len(s.zones))
	}
	return first
}

// read reads the counter. A file that is gone, because the driver was unloaded, is opened again.
func (z *zone) read(buf []byte) (uint64, error) {
	if z.file == nil {
		f, err := sysfile.Open(z.path)
		if err != nil {
			return 0, err
		}
		z.file = f
	}
	v, err := z.file.Uint(buf)
	if errors.Is(err, agent.ErrGone) {
		z.file.Close()
		z.file = nil
		// The error must not end the source: the driver may be loaded again, and other zones go on.
		err = fmt.Errorf("read %s: the zone is gone", z.path)
	}
	return v, err
}

// count returns the energy in µJ since the previous reading. ok is false when it is not known: at the first reading, after
// a reset, and after so long a time that a wrap could have been missed.
func (z *zone) count(v uint64, boot int64) (uj uint64, ok bool) {
	most := uint64(0)
	if z.maxUW > 0 && z.last != 0 {
		most = max(energyUJ(z.maxUW, boot-z.last), 1)
	}
	z.last = boot
	if most > 0 && z.counter.Max > 0 && most > z.counter.Max {
		z.counter.Reset()
	}
	return z.counter.DeltaAtMost(v, most)
}

// energyUJ is the energy of a power over a time.
func energyUJ(uw uint64, ns int64) uint64 {
	hi, lo := bits.Mul64(uw, uint64(max(ns, 0)))
	if hi >= 1e9 {
		return math.MaxUint64
	}
	uj, _ := bits.Div64(hi, lo, 1e9)
	return uj
}

func (s *source) close() error {
	var errs []error
	for _, z := range s.zones {
		if z.file != nil {
			errs = append(errs, z.file.Close())
		}
	}
	return errors.Join(errs...)
}
