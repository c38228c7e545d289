package trace

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// OpenAppend opens or makes a trace file to go on from offset, which is what the books know of it: lines after it were
// written by a run that ended before it could commit what they tell, and are removed. offset 0 begins a trace, and the
// file must have nothing in it.
func OpenAppend(path string, offset int64) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, err
	}
	size, err := f.Seek(0, io.SeekEnd)
	switch {
	case err != nil:
	case offset == 0 && size > 0:
		err = errors.New("the file has other books' trace in it already: choose another file")
	case size < offset:
		err = fmt.Errorf("the file has %d bytes, but the books wrote %d: it is not their trace", size, offset)
	default:
		if err = f.Truncate(offset); err == nil {
			_, err = f.Seek(offset, io.SeekStart)
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("trace %s: %w", path, err), f.Close())
	}
	return f, nil
}
