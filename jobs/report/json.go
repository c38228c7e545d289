package report

import (
	"encoding/json"
	"io"
	"time"

	"github.com/alumet-hpc/alumet-hpc/jobs"
	"github.com/alumet-hpc/alumet-hpc/jobs/store"
)

// Schemas of the JSON outputs. A reader must refuse another number; new keys may come under the same.
const (
	Schema     = "alumet-hpc/report/1"
	ListSchema = "alumet-hpc/list/1"
)

// WriteJSON writes the report as SCHEMA.md describes it.
func (r *Report) WriteJSON(w io.Writer) error { return encode(w, r.document()) }

func encode(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

type jsonReport struct {
	Schema  string `json:"schema"`
	Job     string `json:"job"`
	Step    string `json:"step,omitempty"`
	Node    string `json:"node"`
	Cluster string `json:"cluster,omitempty"`
	AsOf    string `json:"as_of"`
	Live    bool   `json:"live"`
	jsonFacts
	jsonLife
	SeenBegin   bool                  `json:"seen_begin"`
	Lives       int                   `json:"lives"`
	Records     int                   `json:"records"`
	Policy      string                `json:"policy"`
	Marks       []string              `json:"marks"`
	Notes       []string              `json:"notes"`
	Total       *jsonTotal            `json:"total"`
	Steps       []jsonStep            `json:"steps"`
	Sensors     map[string]jsonSensor `json:"sensors"`
	ImbalanceUJ *uint64               `json:"imbalance_uj,omitempty"`
}

type jsonFacts struct {
	User      string `json:"user,omitempty"`
	UID       *int64 `json:"uid,omitempty"`
	JobName   string `json:"job_name,omitempty"`
	Account   string `json:"account,omitempty"`
	Partition string `json:"partition,omitempty"`
	ArrayJob  string `json:"array_job,omitempty"`
	ArrayTask string `json:"array_task,omitempty"`
	HetJob    string `json:"het_job,omitempty"`
	HetOffset string `json:"het_offset,omitempty"`
	Cgroup    string `json:"cgroup,omitempty"`
	CPUs      []int  `json:"cpus,omitempty"`
}

type jsonLife struct {
	Begin        string  `json:"begin,omitempty"`
	End          *string `json:"end"`
	ExistNs      int64   `json:"exist_ns"`
	CPUNs        uint64  `json:"cpu_ns"`
	FinalReading string  `json:"final_reading"`
}

// jsonEnergy is an energy as exact integer and as float.
type jsonEnergy struct {
	UJ     uint64  `json:"uj"`
	Joules float64 `json:"joules"`
}

// jsonFigure is an energy with its quality.
type jsonFigure struct {
	jsonEnergy
	Wh              float64 `json:"wh"`
	LateUJ          uint64  `json:"late_uj"`
	LateJoules      float64 `json:"late_joules"`
	UncertainUJ     uint64  `json:"uncertain_uj"`
	UncertainJoules float64 `json:"uncertain_joules"`
}

type jsonTotal struct {
	jsonFigure
	Share      float64               `json:"share"`
	ShareOfJob float64               `json:"share_of_job"`
	PowerW     *float64              `json:"power_w"`
	Coverage   float64               `json:"coverage"`
	Marks      []string              `json:"marks"`
	Job        jsonEnergy            `json:"job"`
	Steps      map[string]jsonFigure `json:"steps"`
	Meanwhile  jsonMeanwhile         `json:"meanwhile"`
	Sensors    []string              `json:"sensors,omitempty"`
}

type jsonMeanwhile struct {
	Measured   jsonEnergy `json:"measured"`
	ThisJob    jsonEnergy `json:"this_job"`
	OtherJobs  jsonEnergy `json:"other_jobs"`
	System     jsonEnergy `json:"system"`
	Idle       jsonEnergy `json:"idle"`
	Vanished   jsonEnergy `json:"vanished"`
	Unobserved jsonEnergy `json:"unobserved"`
}

type jsonStep struct {
	Step string `json:"step"`
	jsonLife
}

type jsonSensor struct {
	ResourceKind string `json:"resource_kind"`
	ResourceID   string `json:"resource_id"`
	Domain       string `json:"domain"`
	Part         string `json:"part,omitempty"`
	Scope        string `json:"scope"`
	InTotal      bool   `json:"in_total"`
	LeftOut      string `json:"left_out,omitempty"`
	Integrated   bool   `json:"integrated"`
	Estimated    bool   `json:"estimated"`
	Root         string `json:"root,omitempty"`
	jsonTotal
	CoveredNs    int64   `json:"covered_ns"`
	FloorW       float64 `json:"floor_w"`
	FloorLearned bool    `json:"floor_learned"`
	UnmeasuredNs int64   `json:"unmeasured_ns"`
	*jsonBooks
}

// jsonBooks are a sensor's accounts since the store was made.
type jsonBooks struct {
	MeasuredUJ     uint64                `json:"measured_uj"`
	MeasuredJoules float64               `json:"measured_joules"`
	Accounts       map[string]jsonEnergy `json:"accounts"`
	ImbalanceUJ    int64                 `json:"imbalance_uj"`
}

func (r *Report) document() *jsonReport {
	d := &jsonReport{
		Schema: Schema, Job: r.Job.String(), Step: r.Step, Node: r.Known.Node, Cluster: r.Known.Cluster,
		AsOf: timestamp(r.Known.Wall), Live: r.Live(), jsonFacts: facts(&r.Facts),
		jsonLife:  life(r.Begin, r.End, r.ExistNs, r.CPUNs, r.Final),
		SeenBegin: r.SeenBegin, Lives: r.Lives, Records: r.Records, Policy: r.Policy,
		Marks: r.Marks.Words(), Notes: []string{}, Steps: []jsonStep{}, Sensors: map[string]jsonSensor{},
		ImbalanceUJ: r.imbalance(),
	}
	for _, n := range r.Notes {
		d.Notes = append(d.Notes, n.Text)
	}
	for _, s := range r.Steps {
		if s.Name != jobs.Between {
			d.Steps = append(d.Steps, jsonStep{s.Name, life(s.Begin, s.End, s.RanNs, s.CPUNs, s.Final)})
		}
	}
	var names []string
	for i := range r.Sensors {
		s := &r.Sensors[i]
		if s.InTotal {
			names = append(names, s.Sensor.Name)
		}
		d.Sensors[s.Sensor.Name] = r.sensor(s)
	}
	if r.Total.Sensors > 0 {
		t := r.total(&r.Total)
		t.Sensors = names
		d.Total = &t
	}
	return d
}

func (r *Report) total(t *Total) jsonTotal {
	d := jsonTotal{
		jsonFigure: figure(t.Asked), Share: t.Share(), ShareOfJob: ratio(t.Asked.UJ, t.Job.UJ), Coverage: t.Coverage,
		Marks: t.Marks.Words(), Job: energy(t.Job.UJ), Steps: map[string]jsonFigure{},
		Meanwhile: jsonMeanwhile{
			Measured: energy(t.Meanwhile.MeasuredUJ), ThisJob: energy(t.Job.UJ), OtherJobs: energy(t.OtherJobsUJ),
			System: energy(t.Meanwhile.SystemUJ), Idle: energy(t.Meanwhile.IdleUJ), Vanished: energy(t.Meanwhile.VanishedUJ),
			Unobserved: energy(t.Meanwhile.UnobservedUJ),
		},
	}
	if t.PowerW > 0 {
		d.PowerW = &t.PowerW
	}
	for i, s := range r.Steps {
		d.Steps[s.Name] = figure(t.Steps[i])
	}
	return d
}

func (r *Report) sensor(s *Sensor) jsonSensor {
	return jsonSensor{
		ResourceKind: s.Sensor.Resource.Kind, ResourceID: s.Sensor.Resource.ID, Domain: s.Sensor.Domain,
		Part: s.Sensor.Part, Scope: s.Sensor.Scope.String(), InTotal: s.InTotal, LeftOut: s.LeftOut, Integrated: s.Sensor.Integrated,
		Estimated: s.Sensor.Estimated, Root: s.Sensor.Root,
		jsonTotal: r.total(&Total{
			Asked: s.Asked, Job: s.Job, Steps: s.Steps, Meanwhile: s.Meanwhile, OtherJobsUJ: s.OtherJobsUJ, PowerW: s.PowerW,
			Coverage: s.Coverage, Marks: s.Marks,
		}),
		CoveredNs: s.CoveredNs, FloorW: float64(s.FloorUW) / 1e6, FloorLearned: s.FloorLearned, UnmeasuredNs: s.UnmeasuredNs,
		jsonBooks: books(s.Accounts),
	}
}

func books(a *store.Accounts) *jsonBooks {
	if a == nil {
		return nil
	}
	b := &jsonBooks{a.MeasuredUJ, joules(a.MeasuredUJ), map[string]jsonEnergy{}, a.ImbalanceUJ()}
	for _, x := range a.Accounts {
		b.Accounts[x.Name] = energy(x.UJ)
	}
	return b
}

func energy(uj uint64) jsonEnergy { return jsonEnergy{uj, joules(uj)} }

func figure(a Amount) jsonFigure {
	return jsonFigure{energy(a.UJ), wattHours(a.UJ), a.LateUJ, joules(a.LateUJ), a.UncertainUJ, joules(a.UncertainUJ)}
}

func facts(f *jobs.Facts) jsonFacts {
	d := jsonFacts{
		User: f.User, JobName: f.JobName, Account: f.Account, Partition: f.Partition, ArrayJob: f.ArrayJob,
		ArrayTask: f.ArrayTask, HetJob: f.HetJob, HetOffset: f.HetOffset, Cgroup: f.Cgroup, CPUs: f.CPUs,
	}
	if f.UID >= 0 {
		d.UID = &f.UID
	}
	return d
}

func life(begin, end, ranNs int64, cpuNs uint64, final jobs.Final) jsonLife {
	d := jsonLife{Begin: timestamp(begin), ExistNs: ranNs, CPUNs: cpuNs, FinalReading: final.String()}
	if end != 0 {
		text := timestamp(end)
		d.End = &text
	}
	return d
}

// timestamp writes RFC 3339 in UTC; nothing for what is not known.
func timestamp(unixNs int64) string {
	if unixNs == 0 {
		return ""
	}
	return time.Unix(0, unixNs).UTC().Format(time.RFC3339Nano)
}

// imbalance is what the sensors' accounts are off, added up without sign so that faults cannot cancel each other; nil where
// no accounts were asked for.
func (r *Report) imbalance() *uint64 {
	var off *uint64
	for i := range r.Sensors {
		a := r.Sensors[i].Accounts
		if a == nil {
			continue
		}
		if off == nil {
			off = new(uint64)
		}
		*off += magnitude(a.ImbalanceUJ())
	}
	return off
}

func magnitude(v int64) uint64 {
	if v < 0 {
		return -uint64(v)
	}
	return uint64(v)
}
