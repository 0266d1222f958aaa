// Package rendezvous joins processes, on one machine or several, that compute
// together: they meet at rank 0's address, check that they are about the same
// work, and keep their connections, so that all learn it when one ends.
//
// It is for a network that is trusted, as NCCL's own traffic is: nothing is
// encrypted, and who knows the address can try to join.
package rendezvous

import (
	"errors"
	"fmt"
	"net"
	"strconv"

	"crayon/internal/fault"
)

// Place is one process's part among those that join.
type Place struct {
	Rank, World int    // Rank from 0
	Local       int    // number among the processes of its machine
	Address     string // rank 0's, host:port
}

const (
	defaultPort = "29500" // torchrun's
	maxWorld    = 4096
)

// FromEnvironment is the place that torchrun (RANK, WORLD_SIZE, LOCAL_RANK), an
// indexed job of Kubernetes (JOB_COMPLETION_INDEX for RANK) or Slurm
// (SLURM_PROCID, SLURM_NTASKS, SLURM_LOCALID) gives this process, with MASTER_ADDR
// and MASTER_PORT. One process alone is a World of 1.
func FromEnvironment(getenv func(string) string) (Place, error) {
	p := Place{World: 1}
	fail := func(err error, hint string) (Place, error) {
		return Place{}, &fault.Error{Op: "join processes", Err: err, Hint: hint, Exit: fault.ExitUsage}
	}
	first := func(names ...string) (name, value string) {
		for _, name := range names {
			if value := getenv(name); value != "" {
				return name, value
			}
		}
		return names[0], ""
	}
	number := func(to *int, below int, names ...string) error {
		name, value := first(names...)
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 || n >= below {
			return fmt.Errorf("%s is %q, no number from 0 to %d", name, value, below-1)
		}
		*to = n
		return nil
	}
	worlds := []string{"WORLD_SIZE"}
	if getenv("MASTER_ADDR") != "" { // else a task of Slurm's by itself
		worlds = append(worlds, "SLURM_NTASKS")
	}
	name, value := first(worlds...)
	if value == "" || value == "1" {
		return p, nil
	}
	if err := number(&p.World, maxWorld+1, name); err != nil || p.World == 0 {
		return fail(errors.Join(err, fmt.Errorf("%s must be 1 to %d", name, maxWorld)), "unset "+name)
	}
	ranks, locals := []string{"RANK", "JOB_COMPLETION_INDEX"}, []string{"LOCAL_RANK"}
	if name == "SLURM_NTASKS" {
		ranks, locals = []string{"SLURM_PROCID"}, []string{"SLURM_LOCALID"}
	}
	if err := number(&p.Rank, p.World, ranks...); err != nil {
		return fail(err, "docs/cluster.md says which variables are read")
	}
	if _, value := first(locals...); value != "" {
		if err := number(&p.Local, p.World, locals...); err != nil {
			return fail(err, "docs/cluster.md says which variables are read")
		}
	}
	host := getenv("MASTER_ADDR")
	if host == "" {
		return fail(errors.New("MASTER_ADDR names no host for the processes to meet at"), "export MASTER_ADDR=the host of rank 0")
	}
	port := getenv("MASTER_PORT")
	if port == "" {
		port = defaultPort
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return fail(fmt.Errorf("MASTER_PORT is %q, no port", port), "unset MASTER_PORT")
	}
	p.Address = net.JoinHostPort(host, port)
	return p, nil
}
