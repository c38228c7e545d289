package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// together is how many rows one statement inserts: enough that the cost of calling SQLite no longer counts.
const together = 16

// statements are all that writing needs, prepared once.
type statements struct {
	begin, commit, rollback                               *sql.Stmt
	sensor, sensorID, job, books                          *sql.Stmt
	figure, figures, step, steps, stepFigure, stepFigures *sql.Stmt
	state, boot, setBoot, lastTime, setMeta               *sql.Stmt
}

const sensorColumns = `name, resource_kind, resource_id, domain, part, socket, holders, scope, range_uj, max_uw, max_gap_ns,
	step_ns, integrated, estimated, root, measured_uj, system_uj, idle_uj, vanished_uj, unobserved_uj, unmeasured_ns, floor_uw,
	floor_learned, last_uw`

const jobColumns = `scheduler, name, begin_ns, end_ns, begin_wall_ns, end_wall_ns, seen_begin, final_reading, lives, cpu_ns,
	exist_ns, policy, user, uid, job_name, account, partition, array_job, array_task, het_job, het_offset, cgroup, cpus`

func (s *statements) prepare(conn *sql.Conn) error {
	// A job whose figures were made by more than one policy names them all, once each.
	policy := `CASE WHEN instr(', ' || policy || ', ', ', ' || excluded.policy || ', ') > 0 THEN policy
		ELSE policy || ', ' || excluded.policy END`
	figure := `INSERT OR REPLACE INTO figure (sensor, job, uj, late_uj, uncertain_uj, covered_ns, measured_uj, system_uj,
		idle_uj, vanished_uj, unobserved_uj) VALUES `
	step := `INSERT OR REPLACE INTO step (job, step, begin_ns, end_ns, begin_wall_ns, end_wall_ns, seen_begin, cpu_ns,
		final_reading) VALUES `
	stepFigure := `INSERT OR REPLACE INTO step_figure (job, step, sensor, uj, late_uj, uncertain_uj) VALUES `
	books := `INSERT OR REPLACE INTO books (id, time_ns, wall_ns, policy, state) VALUES (1, ?, ?, ?, ?)`
	for _, p := range []struct {
		stmt **sql.Stmt
		text string
	}{
		{&s.begin, `BEGIN IMMEDIATE`},
		{&s.commit, `COMMIT`},
		{&s.rollback, `ROLLBACK`},
		{&s.sensor, upsert("sensor", sensorColumns, "name", "") + ` RETURNING id`},
		{&s.sensorID, `SELECT id FROM sensor WHERE name = ?`},
		{&s.job, upsert("job", jobColumns, "name, scheduler, begin_ns", policy) + ` RETURNING id`},
		{&s.books, books},
		{&s.figure, figure + tuples(11, 1)},
		{&s.figures, figure + tuples(11, together)},
		{&s.step, step + tuples(9, 1)},
		{&s.steps, step + tuples(9, together)},
		{&s.stepFigure, stepFigure + tuples(6, 1)},
		{&s.stepFigures, stepFigure + tuples(6, together)},
		{&s.state, `SELECT state FROM books`},
		{&s.lastTime, `SELECT time_ns FROM books`},
		{&s.boot, `SELECT offset_ns FROM boot WHERE id = ?`},
		{&s.setBoot, upsert("boot", "id, offset_ns", "id", "")},
		{&s.setMeta, upsert("meta", "key, value", "key", "")},
	} {
		var err error
		if *p.stmt, err = conn.PrepareContext(context.Background(), p.text); err != nil {
			return fmt.Errorf("prepare %q: %w", p.text, err)
		}
	}
	return nil
}

// close closes the statements that have been prepared.
func (s *statements) close() error {
	var errs []error
	for _, stmt := range []*sql.Stmt{s.begin, s.commit, s.rollback, s.sensor, s.sensorID, s.job, s.books, s.figure, s.figures,
		s.step, s.steps, s.stepFigure, s.stepFigures, s.state, s.lastTime, s.boot, s.setBoot, s.setMeta} {
		if stmt != nil {
			errs = append(errs, stmt.Close())
		}
	}
	return errors.Join(errs...)
}

// upsert writes the statement that inserts a row or, where the key exists, sets all its other columns; policy, where
// given, is what the column of that name becomes then.
func upsert(table, columns, key, policy string) string {
	names := strings.Split(strings.Join(strings.Fields(columns), " "), ", ")
	keys := strings.Split(key, ", ")
	var set []string
	for _, n := range names {
		switch {
		case slices.Contains(keys, n):
		case n == "policy" && policy != "":
			set = append(set, n+" = "+policy)
		default:
			set = append(set, n+" = excluded."+n)
		}
	}
	return fmt.Sprintf(`INSERT INTO %s (%s) VALUES %s ON CONFLICT (%s) DO UPDATE SET %s`,
		table, strings.Join(names, ", "), tuples(len(names), 1), key, strings.Join(set, ", "))
}

// tuples returns n times (?, …) with the given number of values.
func tuples(values, n int) string {
	one := "(?" + strings.Repeat(", ?", values-1) + ")"
	return one + strings.Repeat(", "+one, n-1)
}

// rows gathers rows of one table and writes many with one statement. The first error is kept until flush.
type rows struct {
	one, many *sql.Stmt
	width     int
	args      []any
	err       error
}

func (r *rows) add(ctx context.Context, args ...any) {
	r.width = len(args)
	r.args = append(r.args, args...)
	if len(r.args) < together*len(args) || r.err != nil {
		return
	}
	_, r.err = r.many.ExecContext(ctx, r.args...)
	r.args = r.args[:0]
}

func (r *rows) flush(ctx context.Context) error {
	for ; len(r.args) > 0 && r.err == nil; r.args = r.args[r.width:] {
		_, r.err = r.one.ExecContext(ctx, r.args[:r.width]...)
	}
	return r.err
}
