package kernel

import (
	"fmt"
	"os"
	"strings"
	"sync/atomic"

	"crayon/internal/fault"
)

// Level is a set of machine instructions that the kernels may use.
type Level uint8

const (
	Plain  Level = iota // Go, any machine
	AVX2                // AVX2, FMA, F16C
	AVX512              // AVX-512 F, BW, VL, DQ, VNNI
)

// Variable is the environment variable that forces a level at start.
const Variable = "CRAYON_KERNEL"

var levelNames = [...]string{Plain: "plain", AVX2: "avx2", AVX512: "avx512"}

func (l Level) String() string {
	if int(l) < len(levelNames) {
		return levelNames[l]
	}
	return fmt.Sprintf("Level(%d)", uint8(l))
}

var (
	best   = detect()
	level  atomic.Uint32
	forced error
)

func init() {
	level.Store(uint32(best))
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

// Best is the highest level this machine has.
func Best() Level { return best }

// Current is the level in use.
func Current() Level { return Level(level.Load()) }

// Forced says why the level named by CRAYON_KERNEL could not be used; nil when
// it is in use or none was named.
func Forced() error { return forced }

// Use makes l the level of all kernels from now on. A level that this machine
// does not have is an error and changes nothing.
func Use(l Level) error {
	if l > best {
		return &fault.Error{
			Op:   "use kernel level",
			Path: l.String(),
			Err:  fmt.Errorf("this machine has %s at most", best),
			Hint: fmt.Sprintf("set %s=%s, or unset it", Variable, best),
			Exit: fault.ExitUsage,
		}
	}
	level.Store(uint32(l))
	return nil
}

// ParseLevel returns the level of that name: plain, avx2 or avx512.
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
		Hint: fmt.Sprintf("set %s=%s, or unset it", Variable, best),
		Exit: fault.ExitUsage,
	}
}
