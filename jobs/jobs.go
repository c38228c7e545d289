// Package jobs says what a batch job is and splits the energy of a node among its jobs, exactly.
//
// The [Ledger] takes the readings of energy counters and the cumulative CPU time of job groups, and divides the energy of
// every interval between two readings, in whole microjoules, among the jobs' steps, the system, idle and unobserved
// accounts, so that their sum is what was measured, always. DESIGN.md beside this file gives the reasons.
package jobs
