package rendezvous

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"crayon/internal/fault"
)

// Options of Join.
type Options struct {
	Same map[string]string // what all must have the same, by name
	// Secret is called by rank 0 when all have come; all get what it returns, at
	// most 4 KB.
	Secret  func() ([]byte, error)
	Timeout time.Duration // until all have come; default 10 minutes
}

const (
	defaultTimeout = 10 * time.Minute
	helloTimeout   = 10 * time.Second // for one peer to say who it is
	maxSecret      = 4 << 10
)

// Group is the processes that have joined, from one of them.
type Group struct {
	Place
	ID []byte // what Secret returned

	peers []*peer // rank 0: the others by rank; else: rank 0
	ctx   context.Context
	end   context.CancelCauseFunc
	work  chan Work // of a rank other than 0
	done  chan int  // ranks that have done the work, at rank 0
	wait  sync.WaitGroup
	once  sync.Once
}

type peer struct {
	rank int
	conn net.Conn
	mu   sync.Mutex // of writing
}

// Work is what rank 0 has the others do. Body is to be read to its end, or
// not at all, before Done.
type Work struct {
	Size int64
	Body io.Reader
	read chan struct{}
}

// errEnded is the cause when rank 0 has no more work.
var errEnded = errors.New("rank 0 has ended")

// Join meets the other processes: rank 0 listens, the others dial until it
// answers. It fails when they differ in what must be the same, and when not all
// have come in time.
func Join(ctx context.Context, p Place, o Options) (*Group, error) {
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	meeting, cancel := context.WithTimeoutCause(ctx, o.Timeout, fmt.Errorf("not all of %d processes came within %s", p.World, o.Timeout))
	defer cancel()
	g := &Group{Place: p, work: make(chan Work), done: make(chan int, p.World)}
	g.ctx, g.end = context.WithCancelCause(context.WithoutCancel(ctx))
	var err error
	if p.Rank == 0 {
		err = g.listen(meeting, o)
	} else {
		err = g.dial(meeting, o)
	}
	if err != nil {
		for _, x := range g.peers {
			x.conn.Close()
		}
		if cause := context.Cause(meeting); cause != nil {
			err = errors.Join(cause, err)
		}
		var told *fault.Error
		if errors.As(err, &told) {
			return nil, err
		}
		return nil, &fault.Error{Op: "join processes", Path: p.Address, Err: err, Hint: "docs/cluster.md says how to start them"}
	}
	for _, x := range g.peers {
		x.conn.SetDeadline(time.Time{})
		g.wait.Go(func() { g.attend(x) })
	}
	return g, nil
}

// send writes a frame to a peer.
func (x *peer) send(h head) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return writeFrame(x.conn, h, nil, 0)
}

// keepAlive finds a machine that is gone within half a minute.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 4}

// listen waits for all others and welcomes them.
func (g *Group) listen(ctx context.Context, o Options) error {
	config := net.ListenConfig{KeepAliveConfig: keepAlive}
	l, err := config.Listen(ctx, "tcp", g.Address)
	if err != nil {
		// MASTER_ADDR may be a name of this machine that only the others know.
		_, port, _ := net.SplitHostPort(g.Address)
		if l, err = config.Listen(ctx, "tcp", ":"+port); err != nil {
			return err
		}
	}
	defer context.AfterFunc(ctx, func() { l.Close() })()
	defer l.Close()
	g.peers = nil
	here := map[int]*peer{}
	for len(here) < g.World-1 {
		conn, err := l.Accept()
		if err != nil {
			return errors.Join(err, g.missing(here))
		}
		conn.SetDeadline(time.Now().Add(helloTimeout))
		h, _, err := readFrame(conn)
		if err != nil || h.Kind != hello || h.Text != protocol {
			conn.Close() // not one of this program's
			continue
		}
		x := &peer{rank: h.Rank, conn: conn}
		err = differs(o.Same, h.Same, h.Rank)
		switch {
		case err != nil:
		case h.Rank < 1 || h.Rank >= g.World:
			err = fmt.Errorf("a process has rank %d of %d", h.Rank, g.World)
		case here[h.Rank] != nil:
			err = fmt.Errorf("two processes have rank %d", h.Rank)
		default:
			conn.SetDeadline(time.Time{})
			here[h.Rank] = x
			g.peers = append(g.peers, x)
			continue
		}
		_ = x.send(head{Kind: failed, Text: err.Error()})
		conn.Close()
		g.tell(err)
		return err
	}
	slices.SortFunc(g.peers, func(a, b *peer) int { return a.rank - b.rank })
	if o.Secret != nil {
		if g.ID, err = o.Secret(); err != nil || len(g.ID) > maxSecret {
			g.tell(errors.Join(err, errors.New("rank 0 could not begin")))
			return errors.Join(err, ctx.Err())
		}
	}
	for _, x := range g.peers {
		x.conn.SetDeadline(time.Now().Add(helloTimeout))
		if err := x.send(head{Kind: welcome, ID: g.ID}); err != nil {
			return fmt.Errorf("rank %d has gone: %w", x.rank, err)
		}
	}
	return nil
}

// missing names the ranks that did not come.
func (g *Group) missing(here map[int]*peer) error {
	var names []string
	for rank := 1; rank < g.World && len(names) < 8; rank++ {
		if here[rank] == nil {
			names = append(names, fmt.Sprint(rank))
		}
	}
	return fmt.Errorf("rank %s did not come", strings.Join(names, ", "))
}

// differs names what differs between rank 0 and another.
func differs(own, theirs map[string]string, rank int) error {
	all := maps.Clone(own)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, theirs)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if own[name] != theirs[name] {
			return &fault.Error{Op: "join processes", Err: fmt.Errorf("the %s of rank %d is not rank 0's: %.40q, %.40q", name, rank, theirs[name], own[name]),
				Hint: "start all processes with the same program, model and arguments", Exit: fault.ExitVerify}
		}
	}
	return nil
}

// dial looks for rank 0 until it answers, and waits to be welcomed.
func (g *Group) dial(ctx context.Context, o Options) error {
	d := net.Dialer{KeepAliveConfig: keepAlive, Timeout: helloTimeout}
	var conn net.Conn
	for {
		var err error
		if conn, err = d.DialContext(ctx, "tcp", g.Address); err == nil {
			break
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
	x := &peer{conn: conn}
	g.peers = []*peer{x}
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	if err := x.send(head{Kind: hello, Rank: g.Rank, Same: o.Same, Text: protocol}); err != nil {
		return err
	}
	h, _, err := readFrame(conn)
	switch {
	case err != nil:
		return fmt.Errorf("rank 0 has gone: %w", err)
	case h.Kind == failed:
		return &fault.Error{Op: "join processes", Path: g.Address, Err: errors.New(h.Text), Exit: fault.ExitVerify}
	case h.Kind != welcome:
		return fmt.Errorf("rank 0 said %q", h.Kind)
	}
	g.ID = h.ID
	return nil
}

// attend reads what a peer says until it ends.
func (g *Group) attend(x *peer) {
	name := fmt.Sprintf("rank %d", x.rank)
	for {
		h, size, err := readFrame(x.conn)
		switch {
		case err != nil:
			g.fail(fmt.Errorf("%s has gone: %w", name, err))
		case h.Kind == failed:
			g.fail(fmt.Errorf("%s failed: %s", name, h.Text))
		case h.Kind == end && g.Rank != 0:
			g.end(errEnded)
		case h.Kind == done && g.Rank == 0:
			select {
			case g.done <- x.rank:
				continue
			default:
				g.fail(fmt.Errorf("%s is done with more than it was given", name))
			}
		case h.Kind == work && g.Rank != 0:
			w := Work{Size: size, Body: io.LimitReader(x.conn, size), read: make(chan struct{})}
			select {
			case g.work <- w:
			case <-g.ctx.Done():
				return
			}
			select {
			case <-w.read:
				continue
			case <-g.ctx.Done():
				return
			}
		default:
			g.fail(fmt.Errorf("%s said %q", name, h.Kind))
		}
		return
	}
}

// fail ends the group with an error, and tells the others.
func (g *Group) fail(err error) {
	g.end(&fault.Error{Op: "compute with other processes", Path: g.Address, Err: err})
	g.tell(err)
}

// tell has all peers end. Not more than once.
func (g *Group) tell(err error) {
	g.once.Do(func() {
		text := err.Error()
		h := head{Kind: failed, Text: text[:min(len(text), 4<<10)]}
		for _, x := range g.peers {
			x.conn.SetWriteDeadline(time.Now().Add(time.Second)) // also frees one that writes to it
			_ = x.send(h)
		}
	})
}

// Context ends when the group does; its cause says why.
func (g *Group) Context() context.Context { return g.ctx }

// Give has all others do work: write is called once for each with where to
// write size bytes. Rank 0's.
func (g *Group) Give(size int64, write func(w io.Writer) error) error {
	for _, x := range g.peers {
		if err := g.give(x, size, write); err != nil {
			if cause := context.Cause(g.ctx); cause != nil {
				return cause
			}
			err = fmt.Errorf("rank %d has gone: %w", x.rank, err)
			g.fail(err)
			return context.Cause(g.ctx)
		}
	}
	return nil
}

func (g *Group) give(x *peer, size int64, write func(w io.Writer) error) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	r, w := io.Pipe()
	go func() { w.CloseWithError(write(w)) }() // ends with the pipe
	defer r.Close()
	return writeFrame(x.conn, head{Kind: work}, r, size)
}

// Finished waits until all others have done the work.
func (g *Group) Finished(ctx context.Context) error {
	for range g.peers {
		select {
		case <-g.done:
		case <-g.ctx.Done():
			return context.Cause(g.ctx)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Take waits for rank 0's next work; false: there is no more. For the other ranks.
func (g *Group) Take(ctx context.Context) (Work, bool, error) {
	select {
	case w := <-g.work:
		return w, true, nil
	case <-g.ctx.Done():
		if cause := context.Cause(g.ctx); cause != errEnded {
			return Work{}, false, cause
		}
		return Work{}, false, nil
	case <-ctx.Done():
		return Work{}, false, ctx.Err()
	}
}

// Read says that the work's body was read.
func (w Work) Read() { close(w.read) }

// Done tells rank 0 that the work is done.
func (g *Group) Done() error {
	if err := g.peers[0].send(head{Kind: done}); err != nil {
		g.fail(fmt.Errorf("rank 0 has gone: %w", err))
		return context.Cause(g.ctx)
	}
	return nil
}

// Close leaves the group: err is why, and ends the others with an error. With
// nil rank 0 ends them well; for another rank that is only so after rank 0's end.
func (g *Group) Close(err error) {
	if err == nil && g.Rank != 0 && context.Cause(g.ctx) == nil {
		err = errors.New("it left")
	}
	if err != nil {
		g.tell(err)
	} else if g.Rank == 0 {
		g.once.Do(func() {
			for _, x := range g.peers {
				x.conn.SetWriteDeadline(time.Now().Add(helloTimeout))
				_ = x.send(head{Kind: end})
			}
		})
	}
	g.end(errEnded)
	for _, x := range g.peers {
		x.conn.Close()
	}
	g.wait.Wait()
}
