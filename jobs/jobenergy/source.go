package jobenergy

import (
	"strconv"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/jobs"
)

// Name is the plugin's name.
const Name = "job-energy"

// Plugin declares the plugin. b may be nil for a declaration that is never opened; who opened the books closes them.
func Plugin(b *Book) agent.Plugin {
	return agent.Define(Name, "Splits the measured energy among the jobs of this node and keeps the figures.", defaults,
		func(s *agent.Setup, c Config) error {
			src := &source{book: b, metric: s.Metric(agent.Metric{
				Name: "job_energy", Description: "Energy of a job, a step or an account of the node since the previous point.",
				Type: agent.TypeF64, Unit: agent.Unit{Base: agent.Joule},
				Attributes: []string{"account", "job_id", "job_step", "user_id", "sensor", "domain", "policy", "estimated"},
			}), attrs: map[key]*labels{}}
			src.yield = src.point
			s.Source("ledger", agent.Schedule{Period: c.Interval.Std(), Flush: c.Flush.Std(), Phase: agent.PhaseSettle}, src)
			return nil
		})
}

// source settles the books after every reading and makes points of what was settled.
type source struct {
	book   *Book
	metric *agent.Metric
	attrs  map[key]*labels
	batch  *agent.Batch
	wall   int64
	yield  func(jobs.SensorIndex, *jobs.Group, string, uint64)
}

// key names a series of points.
type key struct {
	sensor  jobs.SensorIndex
	job     *jobs.Group
	account string
}

type labels struct {
	consumer agent.Consumer
	attrs    *agent.Attrs
}

// maxLabels bounds the cache of labels; ended jobs leave theirs behind until it is emptied.
const maxLabels = 50_000

// Poll settles and makes points.
func (s *source) Poll(b *agent.Batch, now agent.Instant) error {
	err := s.book.read(now)
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	s.book.settle(now)
	if len(s.attrs) > maxLabels {
		clear(s.attrs)
	}
	s.batch, s.wall = b, now.Wall
	s.book.l.Deliver(s.yield)
	s.batch = nil
	return err
}

// Edge settles; the points come with the next tick.
func (s *source) Edge(now agent.Instant) error {
	err := s.book.read(now)
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	s.book.settle(now)
	return err
}

// read has the job groups read, if anybody follows them.
func (b *Book) read(now agent.Instant) error {
	if b.refresh == nil {
		return nil
	}
	return b.refresh(now)
}

// settle settles what can be, learns floors and commits when it is time. b.mu is held.
func (b *Book) settle(now agent.Instant) {
	b.l.Settle(now.Boot)
	if b.config.Learn {
		b.learn(now)
	}
	b.commitIfDue(now)
}

func (s *source) point(i jobs.SensorIndex, job *jobs.Group, account string, uj uint64) {
	sensor := s.book.sensors[i]
	if sensor == nil {
		return // told in an earlier run; its late rest has no sensor to speak for it
	}
	k := key{i, job, account}
	x := s.attrs[k]
	if x == nil {
		x = s.label(k, sensor)
		s.attrs[k] = x
	}
	s.batch.Add(s.metric, s.wall, agent.F64(float64(uj)/1e6), sensor.Resource, x.consumer, x.attrs)
}

// label makes what the points of a series have in common. A job's whole has account `job`, its parts `step`, so that a
// sum over one of them counts every joule once.
func (s *source) label(k key, sensor *agent.Sensor) *labels {
	x := &labels{consumer: agent.NoConsumer()}
	account, list := k.account, []agent.Attr(nil)
	if k.job != nil {
		x.consumer = agent.Consumer{Kind: "job", ID: k.job.Name()}
		list = append(list, agent.Attr{Key: "job_id", Value: number(k.job.ID.Name)})
		if account = "job"; k.account != "" {
			account = "step"
			list = append(list, agent.Attr{Key: "job_step", Value: agent.AttrText(k.account)})
		}
		if uid := k.job.Facts().UID; uid >= 0 {
			list = append(list, agent.Attr{Key: "user_id", Value: agent.AttrUint(uint64(uid))})
		}
	}
	list = append([]agent.Attr{{Key: "account", Value: agent.AttrText(account)}}, list...)
	list = append(list, agent.Attr{Key: "sensor", Value: agent.AttrText(sensor.Name)}, agent.Attr{Key: "domain", Value: agent.AttrText(sensor.Domain)},
		agent.Attr{Key: "policy", Value: agent.AttrText(s.book.l.Policy().String())})
	if sensor.Estimated {
		list = append(list, agent.Attr{Key: "estimated", Value: agent.AttrBoolean(true)})
	}
	x.attrs = agent.NewAttrs(list...)
	return x
}

// number is a job's name as an attribute: a number where it is one.
func number(name string) agent.AttrValue {
	if n, err := strconv.ParseUint(name, 10, 64); err == nil {
		return agent.AttrUint(n)
	}
	return agent.AttrText(name)
}
