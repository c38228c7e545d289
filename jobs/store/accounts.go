package store

import (
	"cmp"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/alumet-hpc/alumet-hpc/jobs"
)

// Accounts is where everything went that a sensor has measured since the store was made.
type Accounts struct {
	Sensor     string
	MeasuredUJ uint64
	// Each job's records added up by ID, and the accounts that are no job's; in bytewise order of their names.
	Accounts []Account
}

// Account is one line of Accounts: `slurm/10707`, `system`, `idle`, `vanished` or `unobserved`.
type Account struct {
	Name string
	UJ   uint64
}

// ImbalanceUJ is measured less the sum of all accounts: 0, or the books are wrong. It wraps only where the books are
// wrong by more than 2^63 µJ.
func (a *Accounts) ImbalanceUJ() int64 {
	rest := a.MeasuredUJ
	for _, x := range a.Accounts {
		rest -= x.UJ
	}
	return int64(rest)
}

// Accounts adds up the rows of a sensor as they are now. An unknown sensor is an error.
func (v *View) Accounts(sensor string) (Accounts, error) {
	a := Accounts{Sensor: sensor}
	var id int64
	var system, idle, vanished, unobserved uint64
	err := v.tx.QueryRow(`SELECT id, measured_uj, system_uj, idle_uj, vanished_uj, unobserved_uj FROM sensor WHERE name = ?`, sensor).
		Scan(&id, &a.MeasuredUJ, &system, &idle, &vanished, &unobserved)
	if errors.Is(err, sql.ErrNoRows) {
		return a, fmt.Errorf("read store %s: no sensor %q", v.path, sensor)
	}
	if err != nil {
		return a, fmt.Errorf("read store %s: %w", v.path, explain(err))
	}
	a.Accounts = []Account{{jobs.System, system}, {jobs.Idle, idle}, {jobs.Vanished, vanished}, {jobs.Unobserved, unobserved}}
	err = v.query(`SELECT j.scheduler, j.name, sum(f.uj) FROM figure f JOIN job j ON j.id = f.job WHERE f.sensor = ?
		GROUP BY j.scheduler, j.name`, []any{id}, func(rows *sql.Rows) error {
		var id jobs.ID
		var uj uint64
		err := rows.Scan(&id.Scheduler, &id.Name, &uj)
		a.Accounts = append(a.Accounts, Account{id.String(), uj})
		return err
	})
	slices.SortFunc(a.Accounts, func(x, y Account) int { return cmp.Compare(x.Name, y.Name) })
	return a, err
}

// Known says how far the books reach.
type Known struct {
	Node, Cluster string
	Jobs          int // records, not IDs
	// OldestWall and NewestWall are when the first and the last job of the books began, in Unix ns; 0 without a job.
	OldestWall, NewestWall int64
	// Time and Wall are when the last commit closed the books, in ledger time and Unix ns; 0 before the first.
	Time, Wall int64
	Policy     string // of the last commit
}

// Known answers for unknown jobs, and says as of when the figures of live ones are.
func (v *View) Known() (Known, error) {
	var k Known
	err := v.tx.QueryRow(`SELECT
		coalesce((SELECT value FROM meta WHERE key = 'node'), ''), coalesce((SELECT value FROM meta WHERE key = 'cluster'), ''),
		(SELECT count(*) FROM job),
		coalesce((SELECT min(begin_wall_ns) FROM job), 0), coalesce((SELECT max(begin_wall_ns) FROM job), 0),
		coalesce((SELECT time_ns FROM books), 0), coalesce((SELECT wall_ns FROM books), 0),
		coalesce((SELECT policy FROM books), '')`).
		Scan(&k.Node, &k.Cluster, &k.Jobs, &k.OldestWall, &k.NewestWall, &k.Time, &k.Wall, &k.Policy)
	if err != nil {
		return k, fmt.Errorf("read store %s: %w", v.path, explain(err))
	}
	return k, nil
}
