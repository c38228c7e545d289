package jobs

import (
	"fmt"
	"strings"
)

// ID names a job: its scheduler and the job's own name there. It is small and comparable. Coordinates that several jobs
// share, such as an array's, are [Facts], not part of the ID.
type ID struct {
	// Scheduler is `slurm`, `oar`, `k8s`, or `exec` for a program that the agent itself started.
	Scheduler string
	// Name is the scheduler's own name of the job: the number 10707 for Slurm and OAR.
	Name string
}

// String returns `slurm/10707`.
func (id ID) String() string { return id.Scheduler + "/" + id.Name }

// ParseID reads what [ID.String] writes. Both parts must be there.
func ParseID(s string) (ID, error) {
	scheduler, name, ok := strings.Cut(s, "/")
	if !ok || scheduler == "" || name == "" {
		return ID{}, fmt.Errorf("job %q: want SCHEDULER/NAME, such as slurm/10707", s)
	}
	return ID{Scheduler: scheduler, Name: name}, nil
}

// Between is the name of what a job used in no step.
const Between = "between"

// Accounts of a node beside those of its jobs.
const (
	System     = "system"     // work outside any job
	Idle       = "idle"       // nobody's
	Vanished   = "vanished"   // used by a job group that ended before it could be read
	Unobserved = "unobserved" // measured while the agent was down, and by nobody that is known
)
