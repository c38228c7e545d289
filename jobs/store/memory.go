package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// State returns what the last commit kept for the ledger to go on from; ok is false before the first commit.
func (s *Store) State() (blob []byte, ok bool, err error) {
	ok, err = s.get(s.stmts.state, &blob)
	return blob, ok && blob != nil, err
}

// LastTime returns the ledger time of the last commit. A new boot's clock must start after it.
func (s *Store) LastTime() (ns int64, ok bool, err error) {
	ok, err = s.get(s.stmts.lastTime, &ns)
	return ns, ok, err
}

// Boot returns the clock offset that was kept for a boot of the node; ok is false for one not seen before.
func (s *Store) Boot(id string) (offsetNs int64, ok bool, err error) {
	ok, err = s.get(s.stmts.boot, &offsetNs, id)
	return offsetNs, ok, err
}

// SetBoot keeps the clock offset of a boot, durably when it returns.
func (s *Store) SetBoot(id string, offsetNs int64) error {
	return s.set(s.stmts.setBoot, id, offsetNs)
}

// SetNode keeps whose books these are, for reports. The cluster may be empty.
func (s *Store) SetNode(name, cluster string) error {
	return errors.Join(s.set(s.stmts.setMeta, "node", name), s.set(s.stmts.setMeta, "cluster", cluster))
}

// get reads one value of one row; false means that there is no such row.
func (s *Store) get(stmt *sql.Stmt, to any, args ...any) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := stmt.QueryRowContext(context.Background(), args...).Scan(to)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read store %s: %w", s.path, err)
	}
	return true, nil
}

func (s *Store) set(stmt *sql.Stmt, args ...any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := stmt.ExecContext(context.Background(), args...); err != nil {
		return fmt.Errorf("write store %s: %w", s.path, explain(err))
	}
	return nil
}
