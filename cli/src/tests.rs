//! Hostile bytes, fed to all that draws and checks.
