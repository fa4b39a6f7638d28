/** CPU time, memory and limits of a process, from /proc. NaN on systems without /proc. */

/** Clock ticks a second in /proc/PID/stat. It is 100 on every Linux on which Deno runs. */
const CLOCK_TICKS_PER_SECOND = 100;

/** Returns the seconds of CPU time that a process has used, user and system. */
export function cpuSeconds(pid: number): number {
  try {
    const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
    // The program's name, in brackets, may contain spaces.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS_PER_SECOND;
  } catch {
    return NaN;
  }
}

/** Returns the resident memory of a process in MB (10^6 bytes). */
export function residentMb(pid: number): number {
  try {
    const kib = /VmRSS:\s+(\d+)/.exec(Deno.readTextFileSync(`/proc/${pid}/status`))?.[1];
    return Number(kib) * 1024 / 1e6;
  } catch {
    return NaN;
  }
}

/** Returns how many file descriptors, and so sockets, this process may open. */
export function openFilesLimit(): number {
  try {
    const limits = Deno.readTextFileSync("/proc/self/limits");
    return Number(/Max open files\s+(\d+)/.exec(limits)?.[1] ?? NaN);
  } catch {
    return NaN;
  }
}
