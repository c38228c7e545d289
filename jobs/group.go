package jobs

// Group is a job or one of its steps, as the ledger follows it. It belongs to the ledger; schedulers hold it as a handle.
type Group struct {
	ID   ID
	Step string // empty: the job itself
}
