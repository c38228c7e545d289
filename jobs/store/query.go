package store

import (
	"database/sql"
	"fmt"
	"strconv"
	"strings"

	"github.com/alumet-hpc/alumet-hpc/jobs"
)

// Query says which job is meant. Name is its own number, or with ArrayTask or HetOffset the number that its array or
// heterogeneous job goes by. An empty Scheduler means any.
type Query struct {
	Scheduler string
	Name      string
	ArrayTask string
	HetOffset string
}

// Filter narrows a list of jobs. Zero fields do not.
type Filter struct {
	User  string // login name, or number of the owner
	Since int64  // Unix ns: jobs that lived at or after it
	Live  bool   // only jobs that have not ended
	Limit int    // at most so many jobs, the latest to begin
}

// Job returns the records that a query means, whole: steps and all figures, oldest first. No record is no error. More
// than one ID is possible where the query names no scheduler.
func (v *View) Job(q Query) ([]jobs.JobRecord, error) {
	where, args := "name = ?", []any{q.Name}
	switch {
	case q.ArrayTask != "":
		where, args = "array_job = ? AND array_job <> '' AND array_task = ?", append(args, q.ArrayTask)
	case q.HetOffset != "":
		where, args = "het_job = ? AND het_job <> '' AND het_offset = ?", append(args, q.HetOffset)
	}
	if q.Scheduler != "" {
		where, args = where+" AND scheduler = ?", append(args, q.Scheduler)
	}
	ids, list, err := v.jobs(where+" ORDER BY scheduler, name, begin_ns", args)
	if err != nil {
		return nil, err
	}
	for i, id := range ids {
		if err := v.steps(id, &list[i]); err != nil {
			return nil, err
		}
		if err := v.figures(id, &list[i]); err != nil {
			return nil, err
		}
		if err := v.stepFigures(id, &list[i]); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// Members returns the tasks of an array job and the components of a heterogeneous one, by the number that these go by:
// their facts and times, without steps and figures.
func (v *View) Members(name string) ([]jobs.JobRecord, error) {
	_, list, err := v.jobs(`(array_job = ? AND array_job <> '' AND array_task <> '') OR (het_job = ? AND het_job <> '')
		ORDER BY CAST(array_task AS INTEGER), CAST(het_offset AS INTEGER), begin_ns`, []any{name, name})
	return list, err
}

// List returns all records of the jobs of which one passes the filter, the latest to begin first, with the figures of each
// as a whole but without steps.
func (v *View) List(f Filter) ([]jobs.JobRecord, error) {
	where, args := []string{"1"}, []any(nil)
	if f.User != "" {
		where, args = append(where, "(user = ? OR CAST(uid AS TEXT) = ?)"), append(args, f.User, f.User)
	}
	if f.Since != 0 {
		where, args = append(where, "(end_ns = 0 OR end_wall_ns >= ?)"), append(args, f.Since)
	}
	if f.Live {
		where = append(where, "end_ns = 0")
	}
	chosen := "SELECT scheduler, name FROM job WHERE " + strings.Join(where, " AND ") +
		" GROUP BY scheduler, name ORDER BY max(begin_wall_ns) DESC, max(id) DESC"
	if f.Limit > 0 {
		chosen, args = chosen+" LIMIT ?", append(args, f.Limit)
	}
	ids, list, err := v.jobs("(scheduler, name) IN ("+chosen+") ORDER BY begin_wall_ns DESC, id DESC", args)
	if err != nil {
		return nil, err
	}
	for i, id := range ids {
		if err := v.figures(id, &list[i]); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// jobs reads rows of the table job, with their row numbers.
func (v *View) jobs(where string, args []any) (ids []int64, list []jobs.JobRecord, err error) {
	err = v.query("SELECT id, "+jobColumns+" FROM job WHERE "+where, args, func(rows *sql.Rows) error {
		var id int64
		var r jobs.JobRecord
		var cpus string
		f := &r.Facts
		err := rows.Scan(&id, &r.ID.Scheduler, &r.ID.Name, &r.Begin, &r.End, &r.WallBegin, &r.WallEnd, &r.SeenBegin,
			&r.FinalReading, &r.Lives, &r.CPUNs, &r.ExistNs, &r.Policy, &f.User, &f.UID, &f.JobName, &f.Account,
			&f.Partition, &f.ArrayJob, &f.ArrayTask, &f.HetJob, &f.HetOffset, &f.Cgroup, &cpus)
		if err != nil {
			return err
		}
		if f.CPUs, err = parseCPUs(cpus); err != nil {
			return fmt.Errorf("job %s: %w", r.ID, err)
		}
		ids, list = append(ids, id), append(list, r)
		return nil
	})
	return ids, list, err
}

func (v *View) steps(id int64, r *jobs.JobRecord) error {
	return v.query(`SELECT step, begin_ns, end_ns, begin_wall_ns, end_wall_ns, seen_begin, cpu_ns, final_reading FROM step
		WHERE job = ? ORDER BY begin_ns, step`, []any{id}, func(rows *sql.Rows) error {
		var s jobs.StepRecord
		err := rows.Scan(&s.Step, &s.Begin, &s.End, &s.WallBegin, &s.WallEnd, &s.SeenBegin, &s.CPUNs, &s.FinalReading)
		r.Steps = append(r.Steps, s)
		return err
	})
}

func (v *View) figures(id int64, r *jobs.JobRecord) error {
	return v.query(`SELECT s.name, uj, late_uj, uncertain_uj, covered_ns, f.measured_uj, f.system_uj, f.idle_uj, f.vanished_uj,
		f.unobserved_uj FROM sensor s CROSS JOIN figure f ON f.sensor = s.id AND f.job = ? ORDER BY s.id`,
		[]any{id}, func(rows *sql.Rows) error {
			var f jobs.Figure
			m := &f.Meanwhile
			err := rows.Scan(&f.Sensor, &f.UJ, &f.LateUJ, &f.UncertainUJ, &f.CoveredNs, &m.MeasuredUJ, &m.SystemUJ, &m.IdleUJ,
				&m.VanishedUJ, &m.UnobservedUJ)
			r.Figures = append(r.Figures, f)
			return err
		})
}

func (v *View) stepFigures(id int64, r *jobs.JobRecord) error {
	return v.query(`SELECT s.name, f.step, uj, late_uj, uncertain_uj FROM step_figure f JOIN sensor s ON s.id = f.sensor
		WHERE job = ? ORDER BY f.step, f.sensor`, []any{id}, func(rows *sql.Rows) error {
		var f jobs.Figure
		err := rows.Scan(&f.Sensor, &f.Step, &f.UJ, &f.LateUJ, &f.UncertainUJ)
		r.Figures = append(r.Figures, f)
		return err
	})
}

// Sensors returns every sensor that the store knows, in the order in which they came.
func (v *View) Sensors() ([]jobs.SensorRecord, error) {
	var list []jobs.SensorRecord
	err := v.query("SELECT "+sensorColumns+" FROM sensor ORDER BY id", nil, func(rows *sql.Rows) error {
		var r jobs.SensorRecord
		var rangeUJ, maxUW int64 // unsigned values in signed columns
		s, t := &r.Sensor, &r.Totals
		err := rows.Scan(&s.Name, &s.Resource.Kind, &s.Resource.ID, &s.Domain, &s.Part, &s.Socket, &s.Holders, &s.Scope,
			&rangeUJ, &maxUW, &s.MaxGapNs, &s.StepNs, &s.Integrated, &s.Estimated, &s.Root, &t.MeasuredUJ, &t.SystemUJ, &t.IdleUJ,
			&t.VanishedUJ, &t.UnobservedUJ, &r.UnmeasuredNs, &r.FloorUW, &r.FloorLearned, &r.LastUW)
		s.RangeUJ, s.MaxUW = uint64(rangeUJ), uint64(maxUW)
		list = append(list, r)
		return err
	})
	return list, err
}

// parseCPUs reads what formatCPUs writes.
func parseCPUs(s string) ([]int, error) {
	if s == "" {
		return nil, nil
	}
	var cpus []int
	for part := range strings.SplitSeq(s, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		a, errA := strconv.ParseUint(first, 10, 16)
		b, errB := strconv.ParseUint(last, 10, 16)
		if errA != nil || errB != nil {
			return nil, fmt.Errorf("CPUs %q: want a list such as 0-3,8", s)
		}
		for n := a; n <= b; n++ {
			cpus = append(cpus, int(n))
		}
	}
	return cpus, nil
}
