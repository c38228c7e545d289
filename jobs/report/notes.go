package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/jobs"
)

const (
	// enough is the coverage above which a figure counts as complete.
	enough = 0.99
	// settling is how far behind the clock the figures of a live job may be without being called incomplete: the time
	// until the slowest sensor has been read and the books are closed.
	settling = 10 * time.Second
	// stale is the age of the last commit at which one asks whether the agent runs.
	stale = time.Minute
)

// jobMarks are the marks that the job or step has by itself, whatever the sensor.
func (r *Report) jobMarks() Marks {
	var m Marks
	if !r.SeenBegin {
		m |= SeenLate
	}
	if r.ended && (r.Final == jobs.FinalNone || r.Final == jobs.FinalLastRead) {
		m |= Incomplete
	}
	return m
}

func (r *Report) sensorMarks(s *Sensor) Marks {
	m := r.jobMarks()
	if s.Sensor.Integrated {
		m |= Integrated
	}
	if s.Sensor.Estimated {
		m |= Estimated
	}
	if s.Asked.LateUJ > 0 {
		m |= SeenLate
	}
	if s.Sensor.Root != "" {
		m |= Foreign
	}
	if r.gap(s) {
		m |= Incomplete
	}
	return m
}

// gap tells whether a part of the job's time is missing that is not merely about to come.
func (r *Report) gap(s *Sensor) bool {
	if s.Coverage >= enough {
		return false
	}
	return r.whole.end != 0 || r.whole.existNs-s.CoveredNs > int64(settling)
}

func (r *Report) note(mark, format string, args ...any) {
	r.Notes = append(r.Notes, Note{Mark: mark, Text: fmt.Sprintf(format, args...)})
}

func (r *Report) fault(format string, args ...any) {
	r.Notes = append(r.Notes, Note{Text: fmt.Sprintf(format, args...), Fault: true})
}

// addNotes says in words what the figures do not.
func (r *Report) addNotes() {
	r.noteFaults()
	r.noteLife()
	r.noteSensors()
	r.noteGaps()
	r.notePolicy()
}

// noteFaults checks what must hold and says where it does not.
func (r *Report) noteFaults() {
	for i := range r.Sensors {
		s := &r.Sensors[i]
		var sum uint64
		for _, a := range s.Steps {
			sum += a.UJ
		}
		if sum != s.Job.UJ && len(s.Steps) > 0 {
			r.fault("%s: the steps add up to %d uJ, the job has %d uJ: please report this fault", s.Sensor.Name, sum, s.Job.UJ)
		}
		if s.Accounts != nil && s.Accounts.ImbalanceUJ() != 0 {
			r.fault("%s: the accounts of the node differ from what was measured by %d uJ: please report this fault",
				s.Sensor.Name, s.Accounts.ImbalanceUJ())
		}
		t := s.Meanwhile
		if given := t.SystemUJ + t.IdleUJ + t.VanishedUJ + t.UnobservedUJ + s.Job.UJ; given > t.MeasuredUJ {
			r.fault("%s: %d uJ more went to accounts than were measured meanwhile: please report this fault", s.Sensor.Name, given-t.MeasuredUJ)
		}
	}
}

func (r *Report) noteLife() {
	if r.Live() {
		age := time.Duration(r.Now - r.Known.Wall)
		switch {
		case age > stale:
			r.note("", "live at the last commit, %s ago; nothing was committed since: is alumet-agent running?", formatAge(age))
		default:
			r.note("", "live: figures are as of the last commit, %s ago", formatAge(age))
		}
	}
	if r.Records > 1 {
		r.note("", "%d records of this job are added: it was requeued, or came back after it had ended", r.Records)
	} else if r.Lives > 1 {
		r.note("", "%d lives: the job's group was removed and made again", r.Lives)
	}
	if len(r.Sensors) == 0 {
		r.note("", "no sensor has measured it: its figures begin with the first interval between two readings, or this node has no energy sensor")
	}
}

func (r *Report) noteSensors() {
	if list := r.named(func(s *Sensor) bool { return s.Marks&Integrated != 0 }); list != "" {
		r.note("I", "integrated: %s: power readings summed over time", list)
	}
	if list := r.named(func(s *Sensor) bool { return s.Marks&Estimated != 0 }); list != "" {
		r.note("E", "estimated: %s: a model, not a measurement", list)
	}
	roots := map[string]bool{}
	for i := range r.Sensors {
		root := r.Sensors[i].Sensor.Root
		if root == "" || roots[root] {
			continue
		}
		roots[root] = true
		list := r.named(func(s *Sensor) bool { return s.Sensor.Root == root })
		r.note("R", "sensor root is not /sys: %s read from %s, so these need not be joules of this machine", list, root)
	}
	for i := range r.Sensors {
		if s := &r.Sensors[i]; s.LeftOut != "" {
			r.note("", "%s is not in the total: %s", s.Sensor.Name, s.LeftOut)
		}
	}
}

// noteGaps says what is missing or uncertain of the job's time.
func (r *Report) noteGaps() {
	if !r.SeenBegin {
		r.note("L", "seen late: the job was found running; what it used before is not known and was not counted")
	}
	var late uint64
	for i := range r.Sensors {
		late = max(late, r.Sensors[i].Asked.LateUJ)
	}
	if late > 0 {
		r.note("L", "seen late: up to %s J of a sensor were measured while the agent was down, and divided when it came back", FormatJoules(late))
	}
	for i := range r.Sensors {
		if s := &r.Sensors[i]; r.gap(s) {
			r.note("P", "incomplete: %s covers %s of the job's time", s.Sensor.Name, formatPercent(s.Coverage))
		}
	}
	if r.jobMarks()&Incomplete == 0 {
		return
	}
	if r.Final == jobs.FinalLastRead {
		r.note("P", "incomplete: its last reading was a periodic one; CPU time after that is not in its figures")
	} else {
		r.note("P", "incomplete: it ended unseen; CPU time after its last reading is not in its figures")
	}
}

func (r *Report) notePolicy() {
	if strings.Contains(r.Policy, ", ") {
		r.note("", "the policy was changed while the job ran: %s; its figures are by all of them, one after the other", r.Policy)
	}
	if !strings.Contains(r.Policy, jobs.PolicyHybrid.Name()) {
		return
	}
	list := r.named(func(s *Sensor) bool { return s.FloorUW == 0 && !s.Sensor.Holders && s.Sensor.Scope != agent.ScopePart })
	if list != "" {
		r.note("", "no idle floor is known for %s: all of its energy is divided by CPU time", list)
	}
}

// named lists the sensors that have a property.
func (r *Report) named(has func(s *Sensor) bool) string {
	var names []string
	for i := range r.Sensors {
		if has(&r.Sensors[i]) {
			names = append(names, r.Sensors[i].Sensor.Name)
		}
	}
	return strings.Join(names, ", ")
}
