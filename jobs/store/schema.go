package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// applicationID marks our files among all SQLite files: the letters `alum`.
const applicationID = 0x616c756d

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migrations returns the steps from an empty file to the present schema, in order: the file NNNN_*.sql makes version NNNN.
func migrations() ([]string, error) { return readMigrations(migrationFiles, "migrations") }

func readMigrations(files fs.FS, dir string) ([]string, error) {
	entries, err := fs.ReadDir(files, dir)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	set := make([]string, 0, len(entries))
	for i, e := range entries {
		number, _, _ := strings.Cut(e.Name(), "_")
		if n, err := strconv.Atoi(number); err != nil || n != i+1 {
			return nil, fmt.Errorf("migration %s: want number %04d", e.Name(), i+1)
		}
		text, err := fs.ReadFile(files, path.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		set = append(set, string(text))
	}
	return set, nil
}

// queryer is what reading a file's identity needs: a connection or a pool.
type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// identify returns the schema version of a file, 0 for an empty one, and an error for a file that is not ours.
func identify(ctx context.Context, q queryer) (version int, err error) {
	var app, tables int
	row := q.QueryRowContext(ctx, `SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema)
		FROM pragma_application_id, pragma_user_version`)
	if err := row.Scan(&app, &version, &tables); err != nil {
		return 0, err
	}
	if app == applicationID {
		return version, nil
	}
	if app != 0 || version != 0 || tables != 0 {
		return 0, fmt.Errorf("%w: an SQLite file of another program", ErrNotStore)
	}
	return 0, nil
}

func newerError(have, known int) error {
	return fmt.Errorf("%w (schema %d, this program knows up to %d): use the program that came with the agent of this node", ErrNewer, have, known)
}

// migrate applies the steps that the file lacks, each in a transaction of its own with the version it makes: a crash in
// between leaves a file of an older version, never a mixture.
func migrate(ctx context.Context, conn *sql.Conn, set []string) error {
	version, err := identify(ctx, conn)
	if err != nil {
		return err
	}
	for ; version < len(set); version++ {
		script := fmt.Sprintf("BEGIN IMMEDIATE;\n%s\nPRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT",
			set[version], applicationID, version+1)
		if _, err := conn.ExecContext(ctx, script); err != nil {
			// Where the script failed before its BEGIN there is nothing to roll back, and that is no second fault.
			_, _ = conn.ExecContext(ctx, `ROLLBACK`)
			return fmt.Errorf("migrate to schema %d: %w", version+1, err)
		}
	}
	return nil
}
