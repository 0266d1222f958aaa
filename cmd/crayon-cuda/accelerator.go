//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"os"

	"crayon/internal/accel"
	nv "crayon/internal/cuda"
	"crayon/internal/rendezvous"
	"crayon/internal/train/cuda"
	"crayon/internal/train/ranks"
)

// accelerator is this machine's GPUs, together with those of other processes
// where the environment names them (docs/cluster.md).
func accelerator() accel.Accelerator {
	place, err := rendezvous.FromEnvironment(os.Getenv)
	switch {
	case err != nil:
		return wrong{err}
	case place.World == 1:
		return cuda.New(cuda.Options{})
	}
	return ranks.New(ranks.Options{Place: place, Make: member, Secret: cuda.NewID})
}

// member is the GPUs of one of several processes: those of its number on this
// machine, or the first ones where a scheduler shows each process its own alone.
func member(p rendezvous.Place, devices int, id []byte) (accel.Accelerator, error) {
	d, err := nv.Load()
	if err != nil {
		return nil, err
	}
	count, err := d.Count()
	if err != nil {
		return nil, err
	}
	first := p.Local * devices
	if first+devices > count {
		first = 0
	}
	return cuda.New(cuda.Options{First: first, Processes: p.World, Process: p.Rank, ID: id}), nil
}

// wrong is what an environment that makes no sense leaves: commands that need
// no GPU run all the same.
type wrong struct{ err error }

func (w wrong) Open(context.Context, string, int) (accel.Engine, error) { return nil, w.err }
