// Package ranks lets processes train together, each with its own devices: rank
// 0 leads and gives the others its examples and its checkpoint, so that they
// need the model alone; they compute the same steps, and write nothing.
package ranks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"crayon/internal/accel"
	"crayon/internal/build"
	"crayon/internal/fault"
	"crayon/internal/gguf"
	"crayon/internal/rendezvous"
	"crayon/internal/train"
)

// Make makes the accelerator of the process at a place: id is what Secret
// returned at rank 0.
type Make func(p rendezvous.Place, devices int, id []byte) (accel.Accelerator, error)

// Options of New.
type Options struct {
	Place  rendezvous.Place
	Make   Make
	Secret func() ([]byte, error) // see rendezvous.Options

	Timeout time.Duration // until all have come; default 10 minutes
	// Grace is how long this process's devices may take to notice that another
	// process has gone; default 10 s. What then still waits is left to the end of the
	// process.
	Grace time.Duration
}

// New is the accelerator of one of several processes.
func New(o Options) accel.Grouped {
	if o.Grace == 0 {
		o.Grace = 10 * time.Second
	}
	info := build.Read()
	return &accelerator{o, map[string]string{"program": info.Version + ", commit " + info.Commit}}
}

type accelerator struct {
	o    Options
	same map[string]string
}

// Same implements accel.Grouped.
func (a *accelerator) Same(name, value string) { a.same[name] = value }

// Address implements accel.Grouped.
func (a *accelerator) Address() string { return a.o.Place.Address }

// Open implements accel.Accelerator.
func (a *accelerator) Open(ctx context.Context, path string, devices int) (accel.Engine, error) {
	digest, err := gguf.Digest(path)
	if err != nil {
		return nil, err
	}
	a.Same("model", digest)
	a.Same("number of processes", fmt.Sprint(a.o.Place.World))
	a.Same("number of devices", fmt.Sprint(devices))
	g, err := rendezvous.Join(ctx, a.o.Place, rendezvous.Options{Same: a.same, Secret: a.o.Secret, Timeout: a.o.Timeout})
	if err != nil {
		return nil, err
	}
	m := &member{group: g, grace: a.o.Grace}
	err = m.do(ctx, func(ctx context.Context) error {
		own, err := a.o.Make(a.o.Place, devices, g.ID)
		if err != nil {
			return err
		}
		m.Engine, err = own.Open(ctx, path, devices)
		return err
	})
	if err != nil {
		g.Close(err)
		return nil, err
	}
	if g.Rank == 0 {
		return &leader{m}, nil
	}
	return &follower{m}, nil
}

// member is what leader and follower share.
type member struct {
	accel.Engine
	group *rendezvous.Group
	grace time.Duration
	stuck bool  // the engine waits for processes that have gone
	ran   bool  // a run has ended
	err   error // why the member leaves
}

// do runs f, which ends when ctx does, and also when the group ends: then the
// engine may wait for sums that never come, and is left behind.
func (m *member) do(outer context.Context, f func(ctx context.Context) error) error {
	ctx, stop := context.WithCancelCause(outer)
	defer stop(nil)
	result := make(chan error, 1)
	go func() { result <- f(ctx) }()
	select {
	case err := <-result:
		return m.because(outer, err)
	case <-m.group.Context().Done():
	}
	cause := context.Cause(m.group.Context())
	stop(cause)
	select {
	case err := <-result:
		return m.because(outer, err)
	case <-time.After(m.grace):
		m.stuck = true
		return cause
	}
}

// because is err, or why the group has ended if that is behind it.
func (m *member) because(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil { // this process itself was stopped
		return err
	}
	var lost *fault.Error
	if cause := context.Cause(m.group.Context()); errors.As(cause, &lost) {
		return cause
	}
	return err
}

// Close implements accel.Engine.
func (m *member) Close() error {
	m.group.Close(m.err)
	if m.stuck {
		return nil
	}
	return m.Engine.Close()
}

type leader struct{ *member }

// Close implements accel.Engine. The others end well only if there was a run.
func (l *leader) Close() error {
	if !l.ran && l.err == nil {
		l.err = errors.New("it ended before it trained")
	}
	return l.member.Close()
}

// Train implements accel.Engine: with the devices of all processes.
func (l *leader) Train(ctx context.Context, c train.Config, examples []train.Example) (*train.Params, error) {
	var params *train.Params
	err := l.do(ctx, func(ctx context.Context) error {
		if err := give(l.group, c, examples); err != nil {
			return err
		}
		var err error
		params, err = l.Engine.Train(ctx, c, examples)
		return err
	})
	if err == nil {
		err = l.group.Finished(ctx)
	}
	if err != nil {
		l.err = err
		return nil, err
	}
	l.ran = true
	return params, nil
}

type follower struct{ *member }

// Follow implements accel.Follower.
func (f *follower) Follow(ctx context.Context) error {
	for {
		work, more, err := f.group.Take(ctx)
		if err != nil || !more {
			f.err = err
			return err
		}
		err = f.do(ctx, func(ctx context.Context) error { return f.train(ctx, work) })
		if err == nil {
			err = f.group.Done()
		}
		if err != nil {
			f.err = err
			return err
		}
	}
}

func (f *follower) train(ctx context.Context, work rendezvous.Work) error {
	c, examples, drop, err := take(work)
	if err != nil {
		return err
	}
	defer drop()
	_, err = f.Engine.Train(ctx, c, examples)
	return err
}
