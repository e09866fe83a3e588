package embedded

import "path/filepath"

// Owner returns the id of the process that locked the data directory last, 0 where that can't be told. Whether it still runs, it
// does not say: the file of the lock stays when the lock is given up.
func Owner(path string) int { return ownerPID(filepath.Join(path, lockFile)) }
