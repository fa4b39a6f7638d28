/**
 * What a process used so far: CPU time and memory, from /proc. NaN where there is no /proc.
 */

/** Clock ticks a second in /proc/PID/stat: 100 on every Linux that Deno runs on. */
const TICKS = 100;

/** Seconds of CPU, in user and system. */
export function cpuSeconds(pid: number): number {
  try {
    const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
    // The name of the program, in brackets, may hold spaces.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) / TICKS;
  } catch {
    return NaN;
  }
}

/** Resident memory in MB (of 10^6 bytes). */
export function residentMb(pid: number): number {
  try {
    const kib = /VmRSS:\s+(\d+)/.exec(Deno.readTextFileSync(`/proc/${pid}/status`))?.[1];
    return Number(kib) * 1024 / 1e6;
  } catch {
    return NaN;
  }
}

/** How many files, and so sockets, a process may open here. */
export function openFilesLimit(): number {
  try {
    const limits = Deno.readTextFileSync("/proc/self/limits");
    return Number(/Max open files\s+(\d+)/.exec(limits)?.[1] ?? NaN);
  } catch {
    return NaN;
  }
}
