package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"syscall"
	"time"

	"crayon/internal/fault"
)

// process is a child that is stopped except while it works. Its parent must be
// locked to its thread: the child is killed when the thread that started it ends.
type process struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *json.Decoder
	setup Setup
	ready ready
}

// start runs command as a child, hands it its setup, waits until it has loaded
// its model, and stops it. Cancelling ctx kills it.
func start(ctx context.Context, command []string, s Setup, stderr io.Writer) (*process, error) {
	bad := func(err error) error { return &fault.Error{Op: "start " + s.Engine, Path: s.Model, Err: err} }
	p := &process{cmd: exec.CommandContext(ctx, command[0], command[1:]...), setup: s}
	p.cmd.Stderr = stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.cmd.WaitDelay = 5 * time.Second
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, bad(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, bad(err)
	}
	p.out = json.NewDecoder(out)
	if err := p.cmd.Start(); err != nil {
		return nil, bad(err)
	}
	if err := p.ask(s, &p.ready); err != nil {
		p.close()
		return nil, bad(err)
	}
	if p.ready.Error != "" {
		p.close()
		return nil, bad(errors.New(p.ready.Error))
	}
	if err := p.signal(syscall.SIGSTOP); err != nil {
		p.close()
		return nil, bad(err)
	}
	return p, nil
}

// do lets the child run for the length of one work.
func (p *process) do(w Work) (result, error) {
	bad := func(err error) (result, error) {
		return result{}, &fault.Error{Op: "time " + p.setup.Engine, Path: string(w.Kind), Err: err}
	}
	if err := p.signal(syscall.SIGCONT); err != nil {
		return bad(err)
	}
	var r result
	if err := p.ask(w, &r); err != nil {
		return bad(err)
	}
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return bad(err)
	}
	if r.Error != "" {
		return bad(errors.New(r.Error))
	}
	if r.Seconds <= 0 {
		return bad(fmt.Errorf("%v seconds", r.Seconds))
	}
	return r, nil
}

func (p *process) ask(question, answer any) error {
	if err := json.NewEncoder(p.in).Encode(question); err != nil {
		return err
	}
	if err := p.out.Decode(answer); err != nil {
		return fmt.Errorf("the child gave no answer: %w", err)
	}
	return nil
}

func (p *process) signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

// close ends the child, stopped or not.
func (p *process) close() {
	p.in.Close()
	p.cmd.Process.Kill()
	p.cmd.Wait() // it was killed: its status says nothing
}
