package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"crayon/internal/kernel"
)

// As llvm-mc assembles "{vex} vpdpbusd %ymmX, %ymmW, %ymmSUM".
func TestVPDPBUSD(t *testing.T) {
	for _, c := range []struct {
		x, w, sum int
		want      string
	}{
		{2, 1, 15, "LONG $0x507562c4; BYTE $0xfa"},
		{9, 0, 4, "LONG $0x507dc2c4; BYTE $0xe1"},
		{2, 13, 4, "LONG $0x5015e2c4; BYTE $0xe2"},
	} {
		a := new(asm)
		vpdpbusd(a, c.x, c.w, c.sum)
		if got, _, _ := strings.Cut(strings.TrimSpace(a.String()), " //"); got != c.want {
			t.Errorf("Y%d, Y%d, Y%d: %s, want %s", c.x, c.w, c.sum, got, c.want)
		}
	}
}

// On a machine with AVX-512 but without AVX-VNNI the tiles of the latter run
// all the same with VPDPBUSD in its EVEX form, which does what the VEX form
// does: the tests of the kernels are built with that form.
func TestVNNITilesInEVEX(t *testing.T) {
	levels := kernel.Levels()
	if testing.Short() || slices.Contains(levels, kernel.AVXVNNI) || !slices.Contains(levels, kernel.AVX512) {
		t.Skip("builds the tests of the kernels; of use only with AVX-512 and without AVX-VNNI")
	}
	detect, err := os.ReadFile(filepath.Join("..", "level_amd64.go"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	replace := map[string]string{}
	put := func(name, text, changed string) {
		if changed == text {
			t.Fatalf("nothing to change in %s", name)
		}
		file, err := filepath.Abs(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		replace[file] = filepath.Join(dir, name)
		if err := os.WriteFile(replace[file], []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	bytes := regexp.MustCompile(`LONG .*; BYTE .* // (VPDPBUSD .*)`)
	for _, name := range []string{"matmul_amd64.s", "peak_amd64.s"} {
		text := files()[name]
		put(name, text, bytes.ReplaceAllString(text, "$1"))
	}
	put("level_amd64.go", string(detect), strings.ReplaceAll(string(detect), "x.HasAVXVNNI", "x.HasAVX512VNNI"))
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-overlay", file, "-v", "-run", "MatMul|Use|Measure", "crayon/internal/kernel")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestMatMul/avxvnni ") {
		t.Errorf("%v\n%s", err, out)
	}
}
