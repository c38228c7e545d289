package jobs

import "github.com/alumet-hpc/alumet-hpc/agent"

// Facts are what is known of a job beside its energy. Empty fields are unknown.
type Facts struct {
	User      string // login name of the owner
	UID       int64  // numeric owner; negative: unknown
	JobName   string
	Account   string
	Partition string
	ArrayJob  string // the array's own job number, for a task of an array
	ArrayTask string // the task's index in the array
	HetJob    string // the leader's job number, for a component of a heterogeneous job
	HetOffset string // the component's index
	Cgroup    string // path of the job's group below its mount point
	CPUs      []int  // CPUs of its cpuset; empty: unknown, counted as all
}

// JobRecord is one life of a job in the store: from when the agent first saw it until it was forgotten. A job that comes
// back later under the same ID (a requeue) has another record; figures of one ID add up. Its key is ID and Begin.
// Times are nanoseconds, of the ledger's clock and of the wall clock.
type JobRecord struct {
	ID         ID
	Facts      Facts
	Begin, End int64 // ledger time; End 0: still live
	// WallBegin and WallEnd are Unix time for people; WallEnd 0: still live.
	WallBegin, WallEnd int64
	// SeenBegin tells that the group was seen being created; otherwise it was found running and what it used before is
	// unknown (seen late).
	SeenBegin bool
	// FinalReading says how the last counter was obtained.
	FinalReading Final
	// Lives counts the incarnations of the job's group within this record.
	Lives int
	CPUNs uint64 // CPU time used, all lives
	// ExistNs is how long the job's group existed, all lives, up to now for a live job.
	ExistNs int64
	// Policy is filled when a record is read back: the name and version of the policy its figures were made by; several,
	// in the order of their use, when it changed during the job. For writing, [Record].Policy counts.
	Policy  string
	Steps   []StepRecord
	Figures []Figure
}

// StepRecord is one step of a job. Step is `0`, `batch`, `extern`, `interactive`, …
type StepRecord struct {
	Step               string
	Begin, End         int64
	WallBegin, WallEnd int64
	// SeenBegin is as in [JobRecord].
	SeenBegin    bool
	CPUNs        uint64
	FinalReading Final
}

// Final says where the last reading of a group came from.
type Final uint8

// The origins of final readings, from best to none.
const (
	FinalNone     Final = iota // the group lives, or ended unseen: what it used last is in vanished
	FinalGroup                 // the group's own counter, read after its last process ended
	FinalParent                // the parent's counter less what is known of its other children
	FinalShared                // as FinalParent, divided among groups that ended at the same time
	FinalLastRead              // no parent counter: the last periodic reading
)

// String returns a word for reports.
func (f Final) String() string {
	return [...]string{"none", "group", "parent", "parent-shared", "last-reading"}[f]
}

// Figure is the energy of a job or step by one sensor, cumulative over the record's life, in µJ.
type Figure struct {
	Sensor string
	Step   string // empty: the job as a whole; [Between]: what no step used
	UJ     uint64
	// LateUJ is the part from intervals that straddle a restart of the agent.
	LateUJ uint64
	// UncertainUJ bounds what may belong to others: edges that fell between two readings, and the counter's own step.
	UncertainUJ uint64
	// CoveredNs is how much of the job's existence lies between two readings of the sensor. Only for the job as a whole.
	CoveredNs int64
	// Meanwhile is what the sensor measured and where it went while the job existed. Only for the job as a whole.
	Meanwhile Totals
}

// Totals are a sensor's sums over some time, in µJ: what was measured and the accounts that are no job's. What is missing
// to MeasuredUJ went to jobs.
type Totals struct {
	MeasuredUJ                                 uint64
	SystemUJ, IdleUJ, VanishedUJ, UnobservedUJ uint64
}

// Sub returns t − o, field by field.
func (t Totals) Sub(o Totals) Totals {
	return Totals{t.MeasuredUJ - o.MeasuredUJ, t.SystemUJ - o.SystemUJ, t.IdleUJ - o.IdleUJ, t.VanishedUJ - o.VanishedUJ, t.UnobservedUJ - o.UnobservedUJ}
}

// SensorRecord is a sensor and its sums since the store was made.
type SensorRecord struct {
	Sensor       agent.Sensor
	Totals       Totals
	UnmeasuredNs int64
	// FloorUW is the idle floor in use, in µW; FloorLearned tells that it was learned, not configured.
	FloorUW      uint64
	FloorLearned bool
	// LastUW is the average power over the last settled interval, in µW.
	LastUW uint64
}

// Record is one commit of the books: everything in it becomes durable together, or nothing.
type Record struct {
	// Time and Wall are when the books were closed for this commit: everything up to Time is settled in it as far as
	// readings allow.
	Time, Wall int64
	// Policy is the name and version of the policy that the figures were made by, such as `hybrid/1`.
	Policy  string
	Sensors []SensorRecord
	// Jobs are the records that changed since the last commit, whole.
	Jobs []JobRecord
	// State is what the books need to go on after a restart.
	State []byte
}

// Recorder makes the books durable.
type Recorder interface {
	Record(r *Record) error
}
