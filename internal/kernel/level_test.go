package kernel

import (
	"errors"
	"os"
	"os/exec"
	"strings"
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
	err := Use(AVX512 + 1)
	var f *fault.Error
	if !errors.As(err, &f) || f.Hint == "" || Current() != old {
		t.Errorf("level %v, error %v", Current(), err)
	}
	if _, err := ParseLevel("sse"); fault.Code(err) != fault.ExitUsage {
		t.Errorf("error %v", err)
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
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	for _, l := range levels() {
		if out := run(l.String()); !strings.Contains(out, "level="+l.String()+"\n") || strings.Contains(out, "error=") {
			t.Errorf("%v: %s", l, out)
		}
	}
	if out := run("fast"); !strings.Contains(out, "level="+Best().String()+"\n") || !strings.Contains(out, "error=") {
		t.Errorf("fast: %s", out)
	}
}
