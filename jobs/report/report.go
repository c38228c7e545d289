// Package report makes a report of one job, or of one of its steps, from the rows of the store, as data and then as a
// table for people, as JSON and as CSV for programs.
//
// Every energy is a whole number of microjoules until it is printed, and is printed to the microjoule wherever it is part
// of a sum: the steps and what was between them add up to the job, and the job, the other jobs, the system and what was
// idle add up to what the sensor measured meanwhile, by hand and in any output. Watt-hours, watts and shares are rounded.
//
// SCHEMA.md beside this file describes the JSON and the CSV.
package report

import (
	"github.com/alumet-hpc/alumet-hpc/jobs"
	"github.com/alumet-hpc/alumet-hpc/jobs/store"
)

// Input is what a report is made from: rows of one view of the store.
type Input struct {
	// Records are all records of one job ID, oldest first. At least one.
	Records []jobs.JobRecord
	// Step narrows the report to one step; empty: the whole job.
	Step    string
	Sensors []jobs.SensorRecord
	Known   store.Known
	// Accounts are the books of the sensors, for those who check that they balance. May be empty.
	Accounts []store.Accounts
	// Now is the time of asking, in Unix ns.
	Now int64
}

// Report is what is known of the energy of a job or step. Times are Unix ns, other durations ns.
type Report struct {
	Job   jobs.ID
	Step  string // empty: the whole job
	Facts jobs.Facts
	Known store.Known
	Now   int64

	Begin, End int64 // of the job, or of the step asked for; End 0: live
	ExistNs    int64
	CPUNs      uint64
	// Lives counts the incarnations of the job's group, Records the rows that were added up.
	Lives, Records int
	SeenBegin      bool
	// Final is the least certain last reading of the lives that have ended.
	Final  jobs.Final
	Policy string

	Sensors []Sensor // in the order in which they are shown: components, their parts, the node's
	Steps   []Step   // by their begin; [jobs.Between] last
	Total   Total
	Marks   Marks
	Notes   []Note

	ended bool     // one of its lives has ended, so that Final means something
	whole lifetime // of the job, also where a step was asked for
}

// lifetime is when something ended, in Unix ns, and how long it was there.
type lifetime struct{ end, existNs int64 }

// Live tells that the job or step had not ended at the last commit.
func (r *Report) Live() bool { return r.End == 0 }

// Step is a step of the job, or [jobs.Between].
type Step struct {
	Name       string
	Begin, End int64 // Unix ns; End 0: live. Both 0 for what was between steps.
	RanNs      int64
	CPUNs      uint64
	SeenBegin  bool
	Final      jobs.Final
	ended      bool
}

// Amount is an energy and what is known of its quality, in µJ.
type Amount struct {
	UJ, LateUJ, UncertainUJ uint64
}

func (a Amount) add(b Amount) Amount {
	return Amount{a.UJ + b.UJ, a.LateUJ + b.LateUJ, a.UncertainUJ + b.UncertainUJ}
}

// Sensor is what one sensor says of the job.
type Sensor struct {
	jobs.SensorRecord
	// Asked is what was asked for: the job's energy, or the step's. Job is the job's in any case.
	Asked, Job Amount
	// Steps are the parts of Job, in the order of Report.Steps.
	Steps     []Amount
	CoveredNs int64
	// Coverage is the part of the job's existence that lies between two readings, 0 to 1.
	Coverage float64
	// PowerW is Asked over the time it was measured in; 0 where that is not known.
	PowerW float64
	// Meanwhile is what was measured while the job existed; OtherJobsUJ is what of it went to neither this job nor an
	// account of nobody.
	Meanwhile   jobs.Totals
	OtherJobsUJ uint64
	// InTotal tells that the sensor is part of the total; LeftOut says why a component is not.
	InTotal bool
	LeftOut string
	Marks   Marks
	// Accounts are the sensor's books, nil where they were not asked for.
	Accounts *store.Accounts
}

// Share is the part of what the sensor measured meanwhile that went to what was asked for, 0 to 1.
func (s *Sensor) Share() float64 { return ratio(s.Asked.UJ, s.Meanwhile.MeasuredUJ) }

// Total is the sum over the components of the node: sensors that overlap are never added.
type Total struct {
	Asked, Job  Amount
	Steps       []Amount
	Meanwhile   jobs.Totals
	OtherJobsUJ uint64
	PowerW      float64
	Coverage    float64 // the least of its sensors'
	Sensors     int     // how many are in it
	Marks       Marks
}

// Share is the part of what was measured meanwhile that went to what was asked for, 0 to 1.
func (t *Total) Share() float64 { return ratio(t.Asked.UJ, t.Meanwhile.MeasuredUJ) }

// Marks are what a reader must know of a figure.
type Marks uint8

// The marks, with the letter that stands for each in tables.
const (
	Integrated Marks = 1 << iota // I: power readings summed over time
	Estimated                    // E: a model, not a measurement
	SeenLate                     // L: the job was found running, or part of it was measured while the agent was down
	Incomplete                   // P: not all of the job's time is covered, or its last reading is missing
	Foreign                      // R: the sensor is read from another root than the machine's own
)

// Words returns the marks as words, in a fixed order.
func (m Marks) Words() []string {
	words := make([]string, 0, 5)
	for i, w := range [...]string{"integrated", "estimated", "seen late", "incomplete", "foreign root"} {
		if m&(1<<i) != 0 {
			words = append(words, w)
		}
	}
	return words
}

// String returns the marks as letters.
func (m Marks) String() string {
	var b []byte
	for i, c := range []byte("IELPR") {
		if m&(1<<i) != 0 {
			b = append(b, c)
		}
	}
	return string(b)
}

// Note is a sentence about the report. Mark is the letter that refers to it in tables, empty for a general one. Fault
// marks what must not be: books that do not add up.
type Note struct {
	Mark  string
	Text  string
	Fault bool
}

func ratio(a, b uint64) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

// watts returns the average power of an energy over a time.
func watts(uj uint64, ns int64) float64 {
	if ns <= 0 {
		return 0
	}
	return float64(uj) * 1e3 / float64(ns) // µJ per ns are kW
}
