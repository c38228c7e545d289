package store

import (
	"context"
	"fmt"
	"math"
	"strconv"

	"github.com/alumet-hpc/alumet-hpc/jobs"
)

var _ jobs.Recorder = (*Store)(nil)

// Record commits the books: all of r, or nothing. When it returns nil, r survives the death of the agent and the loss of
// power. Values are absolute: recording the same again changes nothing, and after an error the same or a later r may be
// recorded. What r does not mention stays as it was, so figures of a sensor that is gone are kept.
func (s *Store) Record(r *jobs.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		return fmt.Errorf("record in %s: the store is closed", s.path)
	}
	ctx := context.Background()
	if _, err := s.stmts.begin.ExecContext(ctx); err != nil {
		return fmt.Errorf("record in %s: %w", s.path, explain(err))
	}
	w := writing{ctx: ctx, s: &s.stmts, sensors: make(map[string]int64, len(r.Sensors))}
	err := w.record(r)
	if err == nil {
		_, err = s.stmts.commit.ExecContext(ctx)
	}
	if err != nil {
		// SQLite may have rolled back by itself; then this fails and nothing is lost by it.
		_, _ = s.stmts.rollback.ExecContext(ctx)
		return fmt.Errorf("record in %s: %w", s.path, explain(err))
	}
	return nil
}

// writing is one transaction's work. The first value that does not fit is kept in err.
type writing struct {
	ctx     context.Context
	s       *statements
	sensors map[string]int64
	err     error
}

func (w *writing) record(r *jobs.Record) error {
	for i := range r.Sensors {
		if err := w.sensor(&r.Sensors[i]); err != nil {
			return err
		}
	}
	figures := rows{one: w.s.figure, many: w.s.figures}
	steps := rows{one: w.s.step, many: w.s.steps}
	stepFigures := rows{one: w.s.stepFigure, many: w.s.stepFigures}
	for i := range r.Jobs {
		j := &r.Jobs[i]
		if err := w.job(j, r.Policy, &figures, &steps, &stepFigures); err != nil {
			return fmt.Errorf("job %s: %w", j.ID, err)
		}
	}
	for _, b := range []*rows{&figures, &steps, &stepFigures} {
		if err := b.flush(w.ctx); err != nil {
			return err
		}
	}
	_, err := w.s.books.ExecContext(w.ctx, r.Time, r.Wall, r.Policy, r.State)
	return err
}

func (w *writing) sensor(r *jobs.SensorRecord) error {
	s, t := &r.Sensor, &r.Totals
	row := w.s.sensor.QueryRowContext(w.ctx, s.Name, s.Resource.Kind, s.Resource.ID, s.Domain, s.Part, s.Socket, s.Holders,
		s.Scope, int64(s.RangeUJ), int64(s.MaxUW), s.MaxGapNs, s.StepNs, s.Integrated, s.Estimated, s.Root,
		w.signed("measured", t.MeasuredUJ), w.signed("system", t.SystemUJ), w.signed("idle", t.IdleUJ),
		w.signed("vanished", t.VanishedUJ), w.signed("unobserved", t.UnobservedUJ),
		r.UnmeasuredNs, w.signed("floor", r.FloorUW), r.FloorLearned, w.signed("power", r.LastUW))
	var id int64
	err := row.Scan(&id)
	if w.err != nil {
		err = w.err
	}
	if err != nil {
		return fmt.Errorf("sensor %s: %w", s.Name, err)
	}
	w.sensors[s.Name] = id
	return nil
}

// job writes the row of a job and hands its steps and figures to the rows that are written many at once.
func (w *writing) job(j *jobs.JobRecord, policy string, figures, steps, stepFigures *rows) error {
	f := &j.Facts
	var id int64
	row := w.s.job.QueryRowContext(w.ctx, j.ID.Scheduler, j.ID.Name, j.Begin, j.End, j.WallBegin, j.WallEnd, j.SeenBegin,
		j.FinalReading, j.Lives, w.signed("CPU time", j.CPUNs), j.ExistNs, policy, f.User, f.UID, f.JobName, f.Account,
		f.Partition, f.ArrayJob, f.ArrayTask, f.HetJob, f.HetOffset, f.Cgroup, formatCPUs(f.CPUs))
	if err := row.Scan(&id); err != nil {
		return err
	}
	for i := range j.Steps {
		t := &j.Steps[i]
		steps.add(w.ctx, id, t.Step, t.Begin, t.End, t.WallBegin, t.WallEnd, t.SeenBegin, w.signed("CPU time", t.CPUNs), t.FinalReading)
	}
	for i := range j.Figures {
		g := &j.Figures[i]
		sensor, err := w.sensorID(g.Sensor)
		if err != nil {
			return err
		}
		uj, late, uncertain := w.signed("energy", g.UJ), w.signed("late energy", g.LateUJ), w.signed("uncertainty", g.UncertainUJ)
		if g.Step != "" {
			stepFigures.add(w.ctx, id, g.Step, sensor, uj, late, uncertain)
			continue
		}
		m := &g.Meanwhile
		figures.add(w.ctx, sensor, id, uj, late, uncertain, g.CoveredNs,
			w.signed("measured", m.MeasuredUJ), w.signed("system", m.SystemUJ), w.signed("idle", m.IdleUJ),
			w.signed("vanished", m.VanishedUJ), w.signed("unobserved", m.UnobservedUJ))
	}
	return w.err
}

// sensorID finds the row of a sensor that a figure names: one of this record, or one of an earlier run of the agent.
func (w *writing) sensorID(name string) (int64, error) {
	if id, ok := w.sensors[name]; ok {
		return id, nil
	}
	var id int64
	if err := w.s.sensorID.QueryRowContext(w.ctx, name).Scan(&id); err != nil {
		return 0, fmt.Errorf("sensor %s of a figure: not among the sensors recorded: %w", name, err)
	}
	w.sensors[name] = id
	return id, nil
}

// signed turns a counter into what SQLite can hold, or remembers that it does not fit.
func (w *writing) signed(what string, v uint64) int64 {
	if v > math.MaxInt64 && w.err == nil {
		w.err = fmt.Errorf("%s %d: more than 2^63-1, which no meter has counted", what, v)
	}
	return int64(v)
}

// formatCPUs writes a list as the kernel does: 0-3,8.
func formatCPUs(cpus []int) string {
	var b []byte
	for i := 0; i < len(cpus); {
		j := i
		for j+1 < len(cpus) && cpus[j+1] == cpus[j]+1 {
			j++
		}
		if len(b) > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(cpus[i]), 10)
		if j > i {
			b = append(b, '-')
			b = strconv.AppendInt(b, int64(cpus[j]), 10)
		}
		i = j + 1
	}
	return string(b)
}
