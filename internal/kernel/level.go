package kernel

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"crayon/internal/fault"
)

// Level is a set of machine instructions that the kernels may use.
type Level uint8

const (
	Plain   Level = iota // Go, any machine
	AVX2                 // AVX2, FMA, F16C
	AVXVNNI              // AVX2 and the VEX form of VPDPBUSD
	AVX512               // AVX-512 F, BW, VL, DQ, VNNI
	NEON                 // ARMv8-A, any arm64 machine
	NEONDot              // NEON and the dot products of bytes, SDOT
)

// Variable is the environment variable that forces a level at start.
const Variable = "CRAYON_KERNEL"

var levelNames = [...]string{
	Plain: "plain", AVX2: "avx2", AVXVNNI: "avxvnni", AVX512: "avx512", NEON: "neon", NEONDot: "neondot",
}

func (l Level) String() string {
	if int(l) < len(levelNames) {
		return levelNames[l]
	}
	return fmt.Sprintf("Level(%d)", uint8(l))
}

var (
	here   = detect() // the levels of this machine: Plain first, the best last
	level  atomic.Uint32
	forced error
)

func init() {
	level.Store(uint32(Best()))
	name := os.Getenv(Variable)
	if name == "" || name == "auto" {
		return
	}
	l, err := ParseLevel(name)
	if err == nil {
		err = Use(l)
	}
	forced = err
}

// Levels returns the levels that this machine has, Plain first and the best
// last.
func Levels() []Level { return slices.Clone(here) }

// LevelNames returns the names of all levels, of any machine.
func LevelNames() []string { return slices.Clone(levelNames[:]) }

// Best is the fastest level this machine has.
func Best() Level { return here[len(here)-1] }

// Current is the level in use.
func Current() Level { return Level(level.Load()) }

// Forced says why the level named by CRAYON_KERNEL could not be used; nil when
// it is in use or none was named.
func Forced() error { return forced }

// Use makes l the level of all kernels from now on. A level that this machine
// does not have is an error and changes nothing.
func Use(l Level) error {
	if !slices.Contains(here, l) {
		return &fault.Error{
			Op:   "use kernel level",
			Path: l.String(),
			Err:  fmt.Errorf("this machine has %s", strings.Join(names(here), ", ")),
			Hint: fmt.Sprintf("set %s=%s, or unset it", Variable, Best()),
			Exit: fault.ExitUsage,
		}
	}
	level.Store(uint32(l))
	return nil
}

func names(levels []Level) []string {
	out := make([]string, len(levels))
	for i, l := range levels {
		out[i] = l.String()
	}
	return out
}

// ParseLevel returns the level of that name, whatever this machine has.
func ParseLevel(name string) (Level, error) {
	for l, n := range levelNames {
		if strings.EqualFold(n, name) {
			return Level(l), nil
		}
	}
	return Plain, &fault.Error{
		Op:   "read kernel level",
		Path: name,
		Err:  fmt.Errorf("not one of auto, %s", strings.Join(levelNames[:], ", ")),
		Hint: fmt.Sprintf("set %s=%s, or unset it", Variable, Best()),
		Exit: fault.ExitUsage,
	}
}
