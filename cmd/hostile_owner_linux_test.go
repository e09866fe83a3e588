package cmd

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestHostileOwner: the service's user replaces files of its directories with links, before root runs commands there.
// Root reads, writes and gives away no file by them.
func TestHostileOwner(t *testing.T) {
	t.Parallel()
	d := newOwnedDir(t)
	d.run(t, 0, `{"account":"ada"}`, exitDone, "user", "import")
	must := func(errs ...error) {
		t.Helper()
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	secret, backups := filepath.Join(d.dir, "secret"), filepath.Join(d.dir, "backups")
	const content = "standalone\n" // the content of the file mode, so that it is mistaken for that
	must(os.WriteFile(secret, []byte(content), 0o600), os.Mkdir(backups, 0o700), os.Chown(backups, serviceUser, serviceUser))
	intact := func(after string) {
		t.Helper()
		info, err := os.Stat(secret)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(secret)
		if st := info.Sys().(*syscall.Stat_t); err != nil || string(got) != content || st.Uid != 0 {
			t.Errorf("after %s: root's file has %q and belongs to %d: %v", after, got, st.Uid, err)
		}
	}
	instead := func(name, target string, do func()) {
		t.Helper()
		path := filepath.Join(d.data, name)
		must(os.Rename(path, path+".aside"), os.Symlink(target, path))
		do()
		must(os.Remove(path), os.Rename(path+".aside", path))
	}
	command := func(args string) {
		c := d.as(t, 0, "", strings.Fields(args)...)
		out, _ := c.CombinedOutput() // some commands fail
		t.Logf("%s: %s", args, out)
		intact(args)
	}

	instead("mode", secret, func() {
		instead("lock", secret, func() {
			command("user list")
			command("status")
			command("serve")
		})
	})
	instead("admin.json", secret, func() {
		command("backup all.tar")
		if got, err := os.ReadFile(filepath.Join(d.dir, "all.tar")); err == nil && bytes.Contains(got, []byte(content)) {
			t.Error("the backup has root's file")
		}
	})

	made := filepath.Join(d.dir, "made")
	lock := filepath.Join(backups, ".imctl-im-lock")
	must(os.Symlink(made, lock))
	command("backup --every 1h " + backups)
	if _, err := os.Lstat(made); err == nil {
		t.Error("root has made a file by a link in the directory of backups")
	}
	must(os.Remove(lock))
	d.run(t, 0, "", exitDone, "backup", "--every", "1h", backups)
	files, err := os.ReadDir(backups)
	must(err)
	if len(files) != 2 {
		t.Errorf("got %v, want a backup and the lock", files)
	}
	for _, f := range files {
		info, err := f.Info()
		must(err)
		if st := info.Sys().(*syscall.Stat_t); st.Uid != serviceUser || st.Gid != serviceUser {
			t.Errorf("%s belongs to %d:%d", f.Name(), st.Uid, st.Gid)
		}
	}
	d.wantOwner(t, "the commands")
}
