package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"crayon/internal/accel"
	"crayon/internal/fault"
)

// devices is the value of --device: 0 is the processor, else how many GPUs.
type devices int

const maxDevices = 64 // of one process

func deviceFlag(f *pflag.FlagSet, to *devices) {
	f.Var(to, "device", "what computes: cpu, cuda (an NVIDIA GPU), or cuda:N (N of them)")
}

// String implements pflag.Value.
func (d *devices) String() string {
	switch *d {
	case 0:
		return "cpu"
	case 1:
		return "cuda"
	}
	return fmt.Sprintf("cuda:%d", int(*d))
}

// Type implements pflag.Value.
func (d *devices) Type() string { return "DEVICE" }

// Set implements pflag.Value.
func (d *devices) Set(s string) error {
	name, number, numbered := strings.Cut(s, ":")
	switch {
	case s == "cpu":
		*d = 0
		return nil
	case s == "cuda":
		*d = 1
		return nil
	case name == "cuda" && numbered:
		if n, err := strconv.Atoi(number); err == nil && n >= 1 && n <= maxDevices {
			*d = devices(n)
			return nil
		}
		return fmt.Errorf("%q is no number of GPUs from 1 to %d", number, maxDevices)
	}
	return errors.New("it is cpu, cuda or cuda:N")
}

// hand gives the command to the program that has an accelerator, if this one
// has none and needs one: then it does not return, or returns an error.
func (a *app) hand(d devices) error {
	if d == 0 || a.accelerator != nil {
		return nil
	}
	return a.replace()
}

// engine opens a model on GPUs; nil: on none. same is what other processes must
// have the same, where several compute together.
func (a *app) engine(ctx context.Context, d devices, model string, same map[string]string) (accel.Engine, error) {
	if d == 0 {
		return nil, nil
	}
	if g, ok := a.accelerator.(accel.Grouped); ok {
		host, _, _ := net.SplitHostPort(g.Address())
		if ip := net.ParseIP(host); a.set.LocalOnly && host != "localhost" && !ip.IsLoopback() {
			return nil, &fault.Error{Op: "join processes", Path: g.Address(), Err: errors.New("--local-only lets nothing leave this machine"),
				Hint: "unset WORLD_SIZE, or leave --local-only away", Exit: fault.ExitRefused}
		}
		for name, value := range same {
			g.Same(name, value)
		}
	}
	return a.accelerator.Open(ctx, model, int(d))
}
