package kernel

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"crayon/internal/fault"
)

func TestUse(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		l, err := ParseLevel(Current().String())
		if err != nil || l != Current() {
			t.Errorf("%v, %v", l, err)
		}
	})
	old := Current()
	for l := range NEONDot + 2 {
		if slices.Contains(Levels(), l) {
			continue
		}
		err := Use(l)
		var f *fault.Error
		if !errors.As(err, &f) || f.Hint == "" || Current() != old {
			t.Errorf("%v: level %v, error %v", l, Current(), err)
		}
	}
	if _, err := ParseLevel("sse"); fault.Code(err) != fault.ExitUsage {
		t.Errorf("error %v", err)
	}
}

func TestLevels(t *testing.T) {
	all := Levels()
	if len(all) == 0 || all[0] != Plain || all[len(all)-1] != Best() || !slices.IsSorted(all) {
		t.Errorf("levels %v, best %v", all, Best())
	}
	if want := os.Getenv("KERNEL_TEST_BEST"); want != "" && Best().String() != want {
		t.Errorf("best level %v, want %s", Best(), want)
	}
	of := map[string][]Level{"amd64": {AVX2, AVXVNNI, AVX512}, "arm64": {NEON, NEONDot}}[runtime.GOARCH]
	for _, l := range all[1:] {
		if !slices.Contains(of, l) {
			t.Errorf("%v on %s", l, runtime.GOARCH)
		}
	}
	for _, name := range LevelNames() {
		if l, err := ParseLevel(name); err != nil || l.String() != name {
			t.Errorf("%s: %v, %v", name, l, err)
		}
	}
}

// The variable forces each level in a process of its own; a wrong name leaves
// the best one and says so.
func TestVariable(t *testing.T) {
	if os.Getenv("KERNEL_TEST_PRINT") != "" {
		os.Stdout.WriteString("level=" + Current().String() + "\n")
		if err := Forced(); err != nil {
			os.Stdout.WriteString("error=" + err.Error() + "\n")
		}
		return
	}
	run := func(value string) string {
		cmd := exec.Command(os.Args[0], "-test.run=^TestVariable$")
		cmd.Env = append(os.Environ(), "KERNEL_TEST_PRINT=1", Variable+"="+value)
		out, err := cmd.CombinedOutput()
		if errors.Is(err, syscall.ENOEXEC) {
			t.Skip("this machine does not run its own test: an emulator does")
		}
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	for _, l := range Levels() {
		if out := run(l.String()); !strings.Contains(out, "level="+l.String()+"\n") || strings.Contains(out, "error=") {
			t.Errorf("%v: %s", l, out)
		}
	}
	if out := run("fast"); !strings.Contains(out, "level="+Best().String()+"\n") || !strings.Contains(out, "error=") {
		t.Errorf("fast: %s", out)
	}
}
