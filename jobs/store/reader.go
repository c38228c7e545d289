package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/mattn/go-sqlite3"
	"golang.org/x/sys/unix"
)

// readers is how many queries of one Reader may run at once: a node answers few people.
const readers = 4

// Reader is the reading side, safe for concurrent use. It writes nothing and needs no right to.
type Reader struct {
	path string
	db   *sql.DB
}

// OpenRead opens the store at path for reading, while an agent writes it or not. The error matches fs.ErrNotExist,
// fs.ErrPermission, [ErrNotStore] or [ErrNewer] where that is the reason.
func OpenRead(path string) (*Reader, error) {
	r, err := openRead(path)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	return r, nil
}

func openRead(path string) (*Reader, error) {
	if err := access(path, unix.R_OK); err != nil {
		return nil, err
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	name := dsn(path, "ro")
	db, err := openReadPool(name)
	// A copy that lies in a folder where no log can be made has no writer either, or there would be a log.
	var se sqlite3.Error
	if errors.As(err, &se) && (se.Code == sqlite3.ErrCantOpen || se.Code == sqlite3.ErrReadonly) && !exists(path+"-wal") {
		db, err = openReadPool(name + "&" + url.Values{"immutable": {"1"}}.Encode())
	}
	if err != nil {
		return nil, err
	}
	return &Reader{path: path, db: db}, nil
}

// openReadPool opens and checks the file; its error is SQLite's own where SQLite refused.
func openReadPool(name string) (_ *sql.DB, err error) {
	db, err := sql.Open("sqlite3", name)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			db.Close()
		}
	}()
	db.SetMaxOpenConns(readers)
	set, err := migrations()
	if err != nil {
		return nil, err
	}
	version, err := identify(context.Background(), db)
	switch {
	case err != nil:
		return nil, explain(err)
	case version > len(set):
		return nil, newerError(version, len(set))
	case version == 0:
		return nil, fmt.Errorf("%w: it is empty, no agent has written to it", ErrNotStore)
	case version < len(set):
		return nil, fmt.Errorf("schema %d is older than this program's %d: start this version's agent once, it brings the file up to date", version, len(set))
	}
	return db, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Close closes the reader. Views must have been closed before.
func (r *Reader) Close() error { return r.db.Close() }

// View is one consistent state of the books: commits made after it began are not in it. It is for one goroutine, and
// to be closed soon: while it is open the agent's log grows.
type View struct {
	path string
	tx   *sql.Tx
}

// View takes the state of the last commit.
func (r *Reader) View() (*View, error) {
	tx, err := r.db.BeginTx(context.Background(), nil)
	if err != nil {
		return nil, fmt.Errorf("read store %s: %w", r.path, explain(err))
	}
	return &View{path: r.path, tx: tx}, nil
}

// Close ends the view.
func (v *View) Close() error { return v.tx.Rollback() }

// query runs text and calls scan for each row.
func (v *View) query(text string, args []any, scan func(*sql.Rows) error) error {
	rows, err := v.tx.Query(text, args...)
	if err != nil {
		return fmt.Errorf("read store %s: %w", v.path, explain(err))
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return fmt.Errorf("read store %s: %w", v.path, err)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read store %s: %w", v.path, explain(err))
	}
	return nil
}
