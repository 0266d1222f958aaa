package upstream

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"

	"crayon/internal/fault"
)

// Cmd is a child process that will dial by itself (pip). It can only be run
// through the gate.
type Cmd struct {
	gate    *Gate
	ctx     context.Context
	purpose string
	name    string
	args    []string

	Dir string   // working folder; "" is this process's
	Env []string // added to this process's environment
}

// Command prepares a child process. Its arguments are listed in the ledger:
// they must not hold secrets.
func (g *Gate) Command(ctx context.Context, purpose, name string, args ...string) *Cmd {
	return &Cmd{gate: g, ctx: ctx, purpose: purpose, name: name, args: args}
}

// Run starts the process and waits for it; when ctx ends it is killed with its
// children. It returns the end of what it printed (both streams, at most 32
// KiB). Under local-only nothing is started, with exit code 4.
func (c *Cmd) Run() (output string, err error) {
	line := strings.Join(c.args, " ")
	e := Entry{Purpose: c.purpose, Kind: KindProcess, Method: c.name, Path: line, Why: whyOf(c.ctx)}
	if c.gate.localOnly {
		return "", errors.Join(refusal("run", c.name), c.gate.ledger.refused(e, ErrLocalOnly.Error()))
	}
	path, err := exec.LookPath(c.name)
	if err != nil {
		return "", &fault.Error{Op: "run", Path: c.name, Err: err, Hint: "install " + c.name}
	}
	call, err := c.gate.ledger.begin(e)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(c.ctx, path, c.args...)
	cmd.Dir = c.Dir
	cmd.Env = append(cmd.Environ(), c.Env...)
	out := &tail{most: 32 << 10}
	cmd.Stdout, cmd.Stderr = out, out
	ownGroup(cmd)
	cmd.WaitDelay = 5 * time.Second
	runErr := cmd.Run()
	end := Entry{}
	if cmd.ProcessState != nil {
		end.Status = cmd.ProcessState.ExitCode()
	}
	if runErr != nil {
		end.Error = "failed"
		if c.ctx.Err() != nil {
			end.Error, runErr = "cancelled", c.ctx.Err()
		}
	}
	lerr := call.end(end)
	if runErr != nil {
		last := lastLine(out.String())
		if last != "" && c.ctx.Err() == nil {
			runErr = fmt.Errorf("%w: %s", runErr, last)
		}
		return out.String(), errors.Join(&fault.Error{Op: "run", Path: c.name, Err: runErr}, lerr)
	}
	return out.String(), lerr
}

// tail keeps the last bytes written to it.
type tail struct {
	mu   sync.Mutex
	buf  []byte
	most int
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if len(t.buf) > t.most {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-t.most:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	// pip says what went wrong in its lines that start with ERROR.
	for i := len(lines) - 1; i >= 0; i-- {
		if strings.HasPrefix(lines[i], "ERROR") {
			return clean(lines[i], 300)
		}
	}
	return clean(lines[len(lines)-1], 300)
}
