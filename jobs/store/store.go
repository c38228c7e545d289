// Package store keeps a node's books in one SQLite file: each job's energy by step and sensor, each sensor's accounts, and
// what the ledger needs to go on after a restart.
//
// # Who writes and who reads
//
// One process writes: [Open] takes a lock beside the file and refuses a second agent. Any number of readers look at it
// meanwhile through [OpenRead]; a [View] is one consistent state of the books, so that figures taken from it add up
// however busy the agent is.
//
// # What is durable
//
// Record returns when a commit is on the disk itself: the write-ahead log is flushed by each commit (synchronous=FULL).
// The cheaper NORMAL would survive the agent's death but could lose the last commits with the power, and a lost commit may
// hold a job's end, which nothing can measure again. One flush every few seconds and one per job end costs less than
// telling the two kinds of commit apart. Everything in a commit is one transaction, the restart state included: after any
// crash the figures and the state that goes on from them belong together.
//
// The log and its index stay beside the file when the agent ends (-wal, -shm), because a reader who may not write in that
// folder could not make them. The folder must be on a local disk: SQLite's log needs memory shared between processes.
//
// # Numbers
//
// Energies are whole microjoules in SQLite's signed 64-bit integers: 2^63 µJ is a megawatt for 290,000 years. A larger
// value can only be a fault and is refused, not bent. Sensor limits (the range of a counter) may use all 64 bits.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	"github.com/mattn/go-sqlite3"
	"golang.org/x/sys/unix"
)

// Reasons why a store cannot be opened, for callers that say what to do next.
var (
	// ErrNotStore: the file is no SQLite file, or another program's.
	ErrNotStore = errors.New("not a store of alumet-hpc")
	// ErrNewer: a newer version of the agent has written the file.
	ErrNewer = errors.New("written by a newer version")
	// ErrInUse: another agent writes the file.
	ErrInUse = errors.New("already in use")
)

// smallestPage is the size of the smallest SQLite file that is not empty.
const smallestPage = 512

// Store is the writing side. It implements jobs.Recorder. Its methods are safe for concurrent use.
type Store struct {
	path string
	lock *os.File
	db   *sql.DB

	mu    sync.Mutex // one transaction at a time on the one connection
	conn  *sql.Conn
	stmts statements
}

// Open opens the store at path for writing and brings it to the present schema; a missing file is made, its folder too.
// While it is open no other Open of the same file succeeds, here or in another process.
func Open(path string) (*Store, error) {
	s, err := open(path)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	return s, nil
}

func open(path string) (_ *Store, err error) {
	real, err := resolve(path)
	if err != nil {
		return nil, err
	}
	s := &Store{path: real}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.lock, err = lockFile(real + ".lock"); err != nil {
		return nil, err
	}
	if err := create(real); err != nil {
		return nil, err
	}
	if s.db, err = sql.Open("sqlite3", dsn(real, "rw")); err != nil {
		return nil, err
	}
	s.db.SetMaxOpenConns(1)
	if s.conn, err = s.db.Conn(context.Background()); err != nil {
		return nil, explain(err)
	}
	if err := prepareFile(s.conn); err != nil {
		return nil, explain(err)
	}
	if err := s.stmts.prepare(s.conn); err != nil {
		return nil, explain(err)
	}
	return s, nil
}

// Close flushes the log into the file and gives up the lock.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.close()
}

// close ends what open has begun, also when that went half way.
func (s *Store) close() error {
	var errs []error
	if s.conn != nil {
		errs = append(errs, s.stmts.close(), s.conn.Close())
	}
	if s.db != nil {
		errs = append(errs, s.db.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	s.conn, s.db, s.lock = nil, nil, nil
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close store %s: %w", s.path, err)
	}
	return nil
}

// resolve makes path absolute and follows its links, so that two names of one file share its lock. The folder is made
// where it is missing.
func resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real, nil
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return "", err
	}
	return filepath.Join(dir, filepath.Base(path)), nil
}

// create makes an empty file that the owner writes and the group reads, and the entry that leads to it durable. SQLite
// gives its log the same mode. A file that exists is left as it is.
func create(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o640)
	if errors.Is(err, fs.ErrExist) {
		return access(path, unix.R_OK|unix.W_OK)
	}
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// access asks the kernel before SQLite does, whose answer is the same for a missing file, a folder and a forbidden one.
// It opens nothing: closing a second descriptor would drop the locks that this process's own connections hold.
func access(path string, mode uint32) error {
	info, err := os.Stat(path)
	if err != nil {
		if pathError, ok := errors.AsType[*fs.PathError](err); ok {
			err = pathError.Err // the caller names the path
		}
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("not a file: %w", ErrNotStore)
	}
	// SQLite takes such a file for an empty one and would overwrite it.
	if n := info.Size(); n > 0 && n < smallestPage {
		return fmt.Errorf("%w: not an SQLite file", ErrNotStore)
	}
	if err := unix.Faccessat(unix.AT_FDCWD, path, mode, unix.AT_EACCESS); err != nil {
		return fmt.Errorf("file of mode %v: %w", info.Mode().Perm(), err)
	}
	return nil
}

// dsn names a file to SQLite. The busy timeout outlasts a look with the sqlite3 shell or a backup of the file.
func dsn(path, mode string) string {
	u := url.URL{Scheme: "file", Path: path}
	q := url.Values{"mode": {mode}, "_busy_timeout": {"5000"}, "_synchronous": {"FULL"}, "_txlock": {"immediate"}}
	if mode == "ro" {
		q = url.Values{"mode": {mode}, "_busy_timeout": {"5000"}, "_query_only": {"1"}}
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// prepareFile checks that the file is ours before anything is changed in it, switches it to a write-ahead log that stays,
// and brings the schema up to date.
func prepareFile(conn *sql.Conn) error {
	ctx := context.Background()
	set, err := migrations()
	if err != nil {
		return err
	}
	version, err := identify(ctx, conn)
	if err != nil {
		return err
	}
	if version > len(set) {
		return newerError(version, len(set))
	}
	// The size limit gives back a log that grew while a reader held an old state.
	if _, err := conn.ExecContext(ctx, `PRAGMA journal_mode = WAL; PRAGMA journal_size_limit = 8388608`); err != nil {
		return err
	}
	err = conn.Raw(func(c any) error {
		return c.(*sqlite3.SQLiteConn).SetFileControlInt("main", sqlite3.SQLITE_FCNTL_PERSIST_WAL, 1)
	})
	if err != nil {
		return err
	}
	return migrate(ctx, conn, set)
}

// explain puts SQLite's words for a file that is not its own into ours.
func explain(err error) error {
	var se sqlite3.Error
	if !errors.As(err, &se) {
		return err
	}
	switch se.Code {
	case sqlite3.ErrNotADB:
		return fmt.Errorf("%w: not an SQLite file", ErrNotStore)
	case sqlite3.ErrCantOpen:
		return fmt.Errorf("%w (may its folder be written to, for the log beside it?)", err)
	case sqlite3.ErrReadonly:
		return fmt.Errorf("%w (a read-only file system?)", err)
	}
	return err
}
