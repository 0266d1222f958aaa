package safetensors

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// golden.safetensors was written by the format's own package: testdata/golden.py.
func TestGolden(t *testing.T) {
	f, err := Read("testdata/golden.safetensors")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"format": "pt", "größe": "猫"}, f.Metadata)
	require.Len(t, f.Tensors, 5)
	ramp := make([]float32, 12)
	for i := range ramp {
		ramp[i] = float32(i-6) / 4
	}
	for name, shape := range map[string][]int{"full": {3, 4}, "half": {2, 6}, "brain": {12}} {
		tensor := f.Tensor(name)
		require.NotNil(t, tensor, name)
		require.Equal(t, shape, tensor.Shape)
		require.Equal(t, ramp, tensor.Floats())
	}
	require.Equal(t, []float32{2.5}, f.Tensor("scalar").Floats())
	require.Empty(t, f.Tensor("scalar").Shape)
	require.Empty(t, f.Tensor("empty").Floats())
	require.Nil(t, f.Tensor("none"))
}

// file is a header of any length and a body.
func file(header string, body int) []byte {
	return append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...), make([]byte, body)...)
}

func TestBadFiles(t *testing.T) {
	const a = `"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}`
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"empty":           {nil, "ends inside its header"},
		"pickle":          {[]byte("PK\x03\x04 a zip of pickles, which is no safetensors file"), "not a safetensors file"},
		"long header":     {binary.LittleEndian.AppendUint64(nil, maxHeader+1), "the limit is"},
		"cut header":      {file(`{`+a+`}`, 8)[:30], "the file has 22 left"},
		"not JSON":        {file(`hello`, 0), "not a JSON object"},
		"broken JSON":     {file(`{"a":`, 0), "header"},
		"no end":          {file(`{`+a, 8), "header"},
		"more after":      {file(`{`+a+`} {}`, 8), "more after the object"},
		"not UTF-8":       {file("{\"\xff\":1}", 0), "not UTF-8"},
		"name twice":      {file(`{`+a+`,`+a+`}`, 8), `"a" stands twice`},
		"unknown field":   {file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}}`, 8), "unknown field"},
		"type":            {file(`{"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}`, 8), `type "I64" is not read`},
		"no type":         {file(`{"a":{"shape":[2],"data_offsets":[0,8]}}`, 8), `type "" is not read`},
		"no offsets":      {file(`{"a":{"dtype":"F32","shape":[2]}}`, 8), "data_offsets []"},
		"three offsets":   {file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}}`, 8), "data_offsets [0 8 8]"},
		"backwards":       {file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}`, 8), "data_offsets [8 0]"},
		"outside":         {file(`{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}}`, 8), "not within the 8 bytes"},
		"negative":        {file(`{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}`, 8), `tensor "a"`},
		"wrong size":      {file(`{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}`, 8), "takes 12 bytes, not 8"},
		"size wraps":      {file(`{"a":{"dtype":"F32","shape":[2147483647,2147483647,2147483647],"data_offsets":[0,8]}}`, 8), "too large"},
		"hole":            {file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, 8), `4 bytes before tensor "a"`},
		"hole at the end": {file(`{`+a+`}`, 9), "1 bytes at the end"},
		"overlap":         {file(`{`+a+`,"b":{"dtype":"F16","shape":[4],"data_offsets":[4,12]}}`, 12), `"b" overlaps`},
		"same bytes":      {file(`{`+a+`,"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 8), "overlaps"},
		"metadata number": {file(`{"__metadata__":{"k":1},`+a+`}`, 8), "__metadata__"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(c.data)
			require.ErrorContains(t, err, c.want)
			path := filepath.Join(t.TempDir(), "f.safetensors")
			require.NoError(t, os.WriteFile(path, c.data, 0o600))
			_, err = Read(path)
			require.ErrorContains(t, err, path)
		})
	}
	_, err := Parse(file(`{`+a+`}   `, 8))
	require.NoError(t, err, "a header may be padded with blanks")
	_, err = Read(t.TempDir())
	require.ErrorContains(t, err, "not a regular file")
	_, err = Read(filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := &File{Metadata: rapid.MapOfN(rapid.String(), rapid.String(), 0, 3).Draw(t, "metadata")}
		names := rapid.SliceOfNDistinct(rapid.StringN(1, 8, -1), 0, 5, rapid.ID[string]).Draw(t, "names")
		var want [][]float32
		for _, name := range names {
			shape := rapid.SliceOfN(rapid.IntRange(0, 4), 0, 3).Draw(t, "shape")
			n := 1
			for _, d := range shape {
				n *= d
			}
			values := rapid.SliceOfN(rapid.Float32Range(-1000, 1000), n, n).Draw(t, "values")
			tensor, err := New(name, shape, rapid.SampledFrom([]Type{F32, F16}).Draw(t, "type"), values)
			require.NoError(t, err)
			if tensor.Type == F16 {
				values = tensor.Floats() // rounded once
			}
			f.Tensors, want = append(f.Tensors, tensor), append(want, values)
		}
		var out bytes.Buffer
		n, err := f.WriteTo(&out)
		require.NoError(t, err)
		require.Equal(t, int64(out.Len()), n)
		got, err := Parse(out.Bytes())
		require.NoError(t, err)
		require.Len(t, got.Tensors, len(names))
		for i, name := range names {
			tensor := got.Tensor(name)
			require.NotNil(t, tensor)
			require.Equal(t, len(f.Tensors[i].Shape), len(tensor.Shape))
			for d := range tensor.Shape {
				require.Equal(t, f.Tensors[i].Shape[d], tensor.Shape[d])
			}
			require.Equal(t, want[i], tensor.Floats())
		}
		require.Equal(t, len(f.Metadata), len(got.Metadata))
		for k, v := range f.Metadata {
			require.Equal(t, v, got.Metadata[k])
		}
	})
}

func TestNewRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		shape  []int
		kind   Type
		values []float32
		want   string
	}{
		"nan":      {[]int{1}, F32, []float32{float32(math.NaN())}, "value 0 is NaN"},
		"infinite": {[]int{1}, F16, []float32{float32(math.Inf(1))}, "value 0 is +Inf"},
		"overflow": {[]int{1}, F16, []float32{1e6}, "too large for F16"},
		"shape":    {[]int{2, 2}, F32, make([]float32, 3), "does not hold 3 values"},
		"negative": {[]int{-1, -1}, F32, make([]float32, 1), "its shape is"},
		"type":     {[]int{1}, BF16, make([]float32, 1), "BF16 is not written"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New("t", c.shape, c.kind, c.values)
			require.ErrorContains(t, err, c.want)
		})
	}
	one, err := New("t", []int{1}, F32, []float32{1})
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "f")
	require.ErrorContains(t, (&File{Tensors: []*Tensor{one, one}}).WriteFile(path), "used twice")
	require.NoFileExists(t, path)
	one.Name = metadataKey
	require.Error(t, (&File{Tensors: []*Tensor{one}}).WriteFile(path))
}

// FuzzParse: nothing panics, and what is read is read alike when written again.
func FuzzParse(f *testing.F) {
	f.Add(file(`{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[1,1],"data_offsets":[8,10]}}`, 10))
	f.Add(file(`{"a":{"dtype":"F16","shape":[0],"data_offsets":[0,0]}}  `, 0))
	f.Add(file(`{`, 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := Parse(data)
		if err != nil {
			return
		}
		total := 0
		for _, tensor := range got.Tensors {
			total += len(tensor.Data)
			_ = tensor.Floats()
		}
		if total > len(data) {
			t.Fatalf("%d bytes of tensors from %d", total, len(data))
		}
		var out bytes.Buffer
		if _, err := got.WriteTo(&out); err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		again, err := Parse(out.Bytes())
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		for _, tensor := range got.Tensors {
			if other := again.Tensor(tensor.Name); other == nil || !bytes.Equal(other.Data, tensor.Data) {
				t.Fatalf("tensor %q changed", tensor.Name)
			}
		}
	})
}
