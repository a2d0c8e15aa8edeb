fn main(){ let lua=luacell::Sandbox::with_config(luacell::SandboxConfig::new().memory_limit(64<<20).timeout(std::time::Duration::from_millis(50))).unwrap();
 let src=std::env::args().nth(1).unwrap(); for _ in 0..3 { match lua.compute(&src){Ok(o)=>println!("{:?}",o.values),Err(e)=>println!("{:?} {}",e.kind(),&e.message()[..e.message().len().min(200)])} }
}
